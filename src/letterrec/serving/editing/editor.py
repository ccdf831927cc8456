"""Edits of a run's catalogue: new items from text to identifier, and changes of those there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from letterrec.config.keywords import Encoding
from letterrec.embeddings.content import encode_in_parts
from letterrec.embeddings.encoders import text_encoder
from letterrec.errors import Conflict, LetterRecError
from letterrec.processes import jobs
from letterrec.runs.run import Run
from letterrec.serving.catalogue.changes import Receipt
from letterrec.serving.catalogue.log import PATIENCE, locked, write_changes
from letterrec.serving.editing.draft import Draft, Embedding
from letterrec.serving.editing.edits import Edit
from letterrec.serving.editing.placing import placed_edit
from letterrec.serving.engine import Engine
from letterrec.tokenizers.base import Codes, Items
from letterrec.tokenizers.new_items import assign_new

Content = dict[str, Embedding]  # of the items that an edit adds, by id


class Editor:
    """Edits the catalogue of the run that an engine serves, and hands the result to the engine.

    Any number of editors may work on one run, in any number of processes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._one_encodes = threading.Lock()

    def preload(self) -> None:
        """Load the encoder and the tokenizer now, if the run can take new items."""
        by_text = self._engine.content is not None and not self._engine.settings.content.is_file
        if by_text and self._engine.files.tokenizer.is_dir():
            with self._one_encodes:
                _ = self._encoder, self._assign

    def make(self, edit: Edit) -> Receipt:
        """Make one edit.

        Raises:
            LetterRecError: why it was refused; then nothing has changed.
        """
        (made,) = self.apply([edit])
        if isinstance(made, LetterRecError):
            raise made
        return made

    def encoded(self, edit: Edit) -> Content:
        """Content embeddings of the items that an edit would add, for `apply`, which makes those
        that it is not given; others need not wait for them.

        Raises:
            LetterRecError: the edit is not possible.
        """
        (ready,) = self._ready([edit], [None])
        if isinstance(ready, LetterRecError):
            raise ready
        return ready[1]

    def apply(
        self,
        edits: Sequence[Edit],
        lock_by: float | None = None,
        given: Sequence[Content | None] | None = None,
    ) -> list[Receipt | LetterRecError]:
        """Make edits, each as a whole or not at all, in one write.

        Args:
            edits: to make. One whose key came before is not made again.
            lock_by: until when to wait for another process that edits, on the clock of
                `time.monotonic`; None waits a minute.
            given: per edit what `encoded` gave, or None.

        Returns:
            Per edit what it did, or why it was refused.

        Raises:
            Conflict: the folder holds another run now; no edit was made.
            Overloaded: another process is editing, and did not end in time; no edit was made.
            RunError: the result cannot be written; then no edit was made.
        """
        engine = self._engine
        ready = self._ready(edits, given or [None] * len(edits))
        patience = PATIENCE if lock_by is None else lock_by - time.monotonic()
        made: list[Receipt | LetterRecError] = []
        with locked(engine.folder, patience):
            self._check_same_run()
            changes = engine.changes_on_disk()
            draft = Draft(engine, changes)
            for one in ready:
                try:
                    if isinstance(one, LetterRecError):
                        raise one
                    made.append(draft.make(*one))
                except LetterRecError as error:
                    made.append(error)
            if draft.is_changed:
                changes = draft.finished(lambda new, taken: self._assign(new, taken))
                write_changes(engine.folder, engine.key, changes)
            engine.apply(changes)
        return made

    def _ready(
        self, edits: Sequence[Edit], given: Sequence[Content | None]
    ) -> list[tuple[Edit, Content] | LetterRecError]:
        """Each edit placed, with content embeddings of what it would add as the catalogue is now,
        made before it is locked; or why the edit is not possible.
        """
        draft = Draft(self._engine, self._engine.changes_on_disk())
        found: list[tuple[Edit, dict[str, str]] | LetterRecError] = []
        for edit, content in zip(edits, given, strict=True):
            try:
                whole = placed_edit(edit, self._engine)
                found.append((whole, draft.texts_to_encode(whole) if content is None else {}))
            except LetterRecError as error:
                found.append(error)
        texts = [t for one in found if isinstance(one, tuple) for t in one[1].values()]
        vectors = iter(self._vectors(texts)) if texts else iter(())
        return [
            (one[0], content or {item: next(vectors) for item in one[1]})
            if isinstance(one, tuple)
            else one
            for one, content in zip(found, given, strict=True)
        ]

    def _vectors(self, texts: Sequence[str]) -> Sequence[Embedding]:
        """Content of texts, by the encoder that is loaded, or by others where they do parts."""
        if jobs.is_shared():
            return list(encode_in_parts(texts, **self._encoding))
        with self._one_encodes:
            return list(self._encoder(texts))

    def _check_same_run(self) -> None:
        found = Run.open(self._engine.folder).id
        if found != self._engine.run_id:
            raise Conflict(
                f"the run that is served ({self._engine.run_id}) is not the one in its folder any "
                f"more ({found}); reload, or put the folder back"
            )

    @property
    def _encoding(self) -> Encoding:
        return self._engine.settings.content.encoding()

    @cached_property
    def _encoder(self) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        return text_encoder(**self._encoding)

    @cached_property
    def _assign(self) -> Callable[[NDArray[np.float32], Codes], Codes]:
        """Assigns identifiers to new items by content ``(n, d_content)``; none that is taken."""
        content = self._engine.content
        assert content is not None
        run = Run.open(self._engine.folder)
        known = Items(content, run.embeddings("collaborative", len(content)))
        return partial(assign_new, run.tokenizer(), known)
