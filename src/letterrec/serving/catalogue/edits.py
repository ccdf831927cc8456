"""Edits of a run's catalogue: new items from text to identifier; blocking, deleting, restoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from letterrec import jobs
from letterrec.data.text import ItemText
from letterrec.embeddings.content import encode_in_parts, text_encoder
from letterrec.errors import Conflict, LetterRecError, NotFound, RequestError, RunError
from letterrec.runs.run import Run
from letterrec.serving.catalogue.items import State
from letterrec.serving.catalogue.log import PATIENCE, Changes, locked, write_changes
from letterrec.serving.engine import Engine
from letterrec.tokenizers.base import Codes, Items
from letterrec.tokenizers.new_items import assign_new

Embedding = NDArray[np.float32]  # (d_content,)
_LONGEST_ID = 256  # characters


@dataclass(frozen=True)
class AddItems:
    """Add items: id -> title and text."""

    items: dict[str, ItemText]


@dataclass(frozen=True)
class SetStates:
    """Block, delete or restore items: id -> state."""

    states: dict[str, State]


Edit = AddItems | SetStates


class Editor:
    """Edits the catalogue of the run that an engine serves, and hands the result to the engine.

    Any number of editors may work on one run, in any number of processes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def preload(self) -> None:
        """Load the encoder and the tokenizer now, if the run can take new items."""
        if self._engine.content is not None and self._engine.files.tokenizer.is_dir():
            _ = self._encoder, self._assign

    def make(self, edit: Edit) -> None:
        """Make one edit.

        Raises:
            LetterRecError: why it was refused; then nothing has changed.
        """
        (error,) = self.apply([edit])
        if error is not None:
            raise error

    def apply(
        self, edits: Sequence[Edit], lock_by: float | None = None
    ) -> list[LetterRecError | None]:
        """Make edits, each as a whole or not at all, in one write.

        Args:
            edits: to make.
            lock_by: until when to wait for another process that edits, on the clock of
                `time.monotonic`; None waits a minute.

        Returns:
            Per edit None, or why it was refused.

        Raises:
            Overloaded: another process is editing, and did not end in time; no edit was made.
            RunError: the result cannot be written; then no edit was made.
        """
        engine = self._engine
        errors: list[LetterRecError | None] = [None] * len(edits)
        now = _Draft(engine, engine.changes_on_disk())
        for i, edit in enumerate(edits):
            if isinstance(edit, AddItems):
                try:
                    self._check_new(edit)
                    now.check_new(edit.items)  # before the costly encoding; checked again below
                except LetterRecError as error:
                    errors[i] = error
        sound = [i for i, error in enumerate(errors) if error is None]
        added = [edits[i] for i in sound]
        texts = [t.text for e in added if isinstance(e, AddItems) for t in e.items.values()]
        encoded: Iterator[Embedding] = iter(self._encoded(texts)) if texts else iter(())
        patience = PATIENCE if lock_by is None else lock_by - time.monotonic()
        with locked(engine.folder, patience):
            changes = engine.changes_on_disk()
            draft = _Draft(engine, changes)
            for i in sound:
                edit = edits[i]
                try:
                    if isinstance(edit, AddItems):
                        content = [next(encoded) for _ in edit.items]
                        draft.add(edit.items, content)
                    else:
                        draft.set_states(edit.states)
                except LetterRecError as error:
                    errors[i] = error
            if draft.is_changed:
                changes = draft.finished(lambda new, taken: self._assign(new, taken))
                write_changes(engine.folder, engine.key, changes)
            engine.apply(changes)
        return errors

    def _check_new(self, edit: AddItems) -> None:
        if self._engine.content is None or not self._engine.files.tokenizer.is_dir():
            raise RequestError(
                f"{self._engine.folder} cannot take new items: its identifiers were not made from "
                "item texts by a tokenizer of its own; fit a run on items with texts"
            )
        for item, words in edit.items.items():
            if not item.strip() or len(item) > _LONGEST_ID or not item.isprintable():
                raise RequestError(
                    f"item id {item[:40]!r}: expected 1 to {_LONGEST_ID} printable characters"
                )
            if not words.text.strip():
                raise RequestError(
                    f"item {item!r} has neither title nor text; its identifier is made from them: "
                    "give at least a title"
                )

    def _encoded(self, texts: Sequence[str]) -> Sequence[Embedding]:
        """Content of texts, by the encoder that is loaded, or by others where they do parts."""
        if not jobs.is_shared():
            return list(self._encoder(texts))
        return list(encode_in_parts(texts, **self._encoding))

    @property
    def _encoding(self) -> dict[str, Any]:
        return self._engine.settings.content.model_dump(exclude={"source"})

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


class _Draft:
    """The catalogue's changes plus pending edits, whose new items have no identifiers yet."""

    def __init__(self, engine: Engine, changes: Changes) -> None:
        self._trained = engine.dataset.item_rows
        self._codes = engine.identifiers.codes[: engine.dataset.n_items]
        self._width = None if engine.content is None else engine.content.shape[1]
        self._changes = changes
        self._added = set(changes.item_ids)
        self._states = dict(changes.states)
        self._new: dict[str, ItemText] = {}
        self._content: list[Embedding] = []
        self.is_changed = False

    def add(self, items: dict[str, ItemText], content: list[Embedding]) -> None:
        """Add items, or refuse them all."""
        self.check_new(items)
        self._new |= items
        self._content += content
        self.is_changed |= bool(items)

    def check_new(self, items: Iterable[str]) -> None:
        """Refuse items whose ids are taken."""
        for item in items:
            if self._states.get(item) == "deleted":
                raise Conflict(
                    f"item {item!r} was deleted, and its id stays taken; "
                    "restore it, or add it under another id"
                )
            if self._is_known(item):
                raise Conflict(
                    f"item {item!r} is already in the catalogue, and its identifier does not "
                    "change; leave it out, or add it under another id"
                )

    def set_states(self, states: dict[str, State]) -> None:
        """Set the states of items, or of none; deleting twice is a mistake."""
        for item, state in states.items():
            is_deleted = self._states.get(item) == "deleted"
            if not self._is_known(item) or (state == "deleted" and is_deleted):
                raise NotFound(f"item {item!r} is not in the catalogue; check the id")
        for item, state in states.items():
            if self._states.get(item, "active") == state:
                continue
            self.is_changed = True
            if state == "active":
                del self._states[item]
            else:
                self._states[item] = state

    def _is_known(self, item: str) -> bool:
        return item in self._trained or item in self._added or item in self._new

    def finished(
        self, assign: Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.int32]]
    ) -> Changes:
        """The changes, with an identifier for every new item."""
        old = self._changes
        states: Any = self._states
        changes = replace(old, states=states, generation=old.generation + 1, lineage=uuid4().hex)
        if not self._new:
            return changes
        content = np.stack(self._content)  # (n_new, d_content)
        if content.shape[1] != self._width:
            raise RunError(
                f"the encoder gives {content.shape[1]} numbers per item where the run's items have "
                f"{self._width}; add items with the encoder that the run was fitted with"
            )
        codes = assign(content, np.concatenate([self._codes, old.codes]))
        return replace(
            changes,
            item_ids=old.item_ids + tuple(self._new),
            titles=old.titles + tuple(w.title or i for i, w in self._new.items()),
            texts=old.texts + tuple(w.text for w in self._new.values()),
            codes=np.concatenate([old.codes, codes]),
            content=np.concatenate([old.content, content]) if len(old.content) else content,
        )
