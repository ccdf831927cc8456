"""A run in service: the engine that answers now, its queue, its edits, its reload and rollback.

Both replace the engine without dropping requests: each keeps the engine that it began with.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from letterrec.errors import Conflict, LetterRecError, Overloaded, RunError, short
from letterrec.runs.run import Run
from letterrec.serving.catalogue.changes import Receipt
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.editing.editor import Content, Editor
from letterrec.serving.editing.edits import AddItems, Edit, PutItems
from letterrec.serving.engine import Engine
from letterrec.serving.queries import Query
from letterrec.serving.queue import Batcher
from letterrec.serving.telemetry import ServerMetrics, event

_MANY = 50  # items that are encoded while other edits are made
_MOST_EDITS = 1024  # that may wait
_NEVER = 2**31 - 1  # collections of younger objects before a full one
_LOOK_EVERY = 0.4  # seconds between looks for edits by other processes


class Made(NamedTuple):
    """The catalogue with an edit, and what the edit did."""

    catalogue: Catalogue
    receipt: Receipt


@dataclass(eq=False)
class _Waiting:
    """An edit that waits for its turn, and until ``ends`` for other processes."""

    edit: Edit
    content: Content | None  # of the items that it adds, where that was made already
    ends: float
    future: asyncio.Future[Made]


class Service:
    """Answers, edits and reloads.

    Args:
        load: opens the run anew.
        name: of the model, where a server has several.
        engine: that answers first; None loads it.
        editor: of that engine, if all that is to be loaded is there already.
        metrics: where searches and reloads are counted.
        queue: queries that may wait.
        max_batch: queries answered by one search.
        preload: load what new items need now, in the background, and not with the first one.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        *,
        name: str = "default",
        engine: Engine | None = None,
        editor: Editor | None = None,
        metrics: ServerMetrics | None = None,
        queue: int = 256,
        max_batch: int = 64,
        preload: bool = False,
    ) -> None:
        self._load = load
        self.name = name
        self.metrics = metrics or ServerMetrics()
        self.engine = engine or opened(load)
        self.before: Engine | None = None  # that was served before
        self.left: str | None = None  # id of the run that a rollback left, until one is loaded
        # Exempt the libraries' many objects from garbage collection, which would block all
        # requests. Only at the start: later, this would also exempt objects of open requests, and
        # those in reference cycles would never be freed.
        gc.collect()
        gc.freeze()
        self._editor = editor or Editor(self.engine)
        self.batcher = Batcher(capacity=queue, max_batch=max_batch, observe=self.metrics.batch)
        self._edits: list[_Waiting] = []
        self._stopping = False
        self._edits_lock = threading.Lock()
        # One thread for all that replaces the catalogue or the engine, one after the other.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        if editor is None and (preload or self.engine.model.follows_instructions):
            self._keeper.submit(preloaded, self._editor if preload else None, self.engine)

    async def edit(self, edit: Edit, ends: float) -> Made:
        """Change the catalogue; edits that come together are written together.

        Args:
            edit: to make.
            ends: until when to wait for another process that edits, on the clock of
                `time.monotonic`. Work in this process (other edits, loading the encoder, a reload)
                is waited for without a limit.

        Returns:
            The catalogue with the edit, which is served already, and what the edit did.

        Raises:
            LetterRecError: why it was refused; `Overloaded` if another process does not end.
        """
        content = None
        if isinstance(edit, AddItems | PutItems) and len(edit.items) > _MANY:
            content = await asyncio.to_thread(self._editor.encoded, edit)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(edit, content, ends, loop.create_future())
        with self._edits_lock:
            if self._stopping:
                raise Overloaded("the server is stopping; ask another one")
            if len(self._edits) >= _MOST_EDITS:
                raise Overloaded(f"{_MOST_EDITS} edits are waiting already; try again in a second")
            self._edits.append(waiting)
        self._keeper.submit(self._make_edits)
        try:
            return await asyncio.shield(waiting.future)
        except asyncio.CancelledError:  # given up before its turn: it is not to be made
            with self._edits_lock:
                if waiting in self._edits:
                    self._edits.remove(waiting)
            raise

    async def reload(self, *, follows: bool = False) -> Engine:
        """Open the run again and go on with it; on failure the engine stays.

        Args:
            follows: do what another process did, which has counted and logged it.

        Raises:
            LetterRecError: why the run on the disk cannot be served.
        """
        try:
            engine = await asyncio.wrap_future(self._keeper.submit(self._reload))
        except LetterRecError as error:
            name = "reload not followed" if follows else "reload refused"
            event(name, logging.ERROR, model=self.name, reason=str(error))
            if not follows:
                self.metrics.reloads.labels("refused").inc()
            raise
        if not follows:
            self.metrics.reloads.labels("done").inc()
            event("reloaded", **self._described(engine))
        return engine

    async def rollback(self, *, follows: bool = False) -> Engine:
        """Go back to the engine before the last reload, and forward again when called once more.

        Args:
            follows: see `reload`.

        Raises:
            Conflict: there was none before.
        """
        try:
            engine = await asyncio.wrap_future(self._keeper.submit(self._rollback))
        except Conflict as error:
            if follows:
                reason = str(error)
                event("rollback not followed", logging.ERROR, model=self.name, reason=reason)
            raise
        if not follows:
            self.metrics.reloads.labels("rolled back").inc()
            event("rolled back", **self._described(engine))
        return engine

    def _described(self, engine: Engine) -> dict[str, object]:
        return {
            "model": self.name,
            "folder": str(engine.folder),
            "run": engine.run_id,
            "generation": engine.catalogue.generation,
            "items": engine.catalogue.n_items,
        }

    async def watch(self) -> None:
        """Serve the edits of other processes as they appear, until cancelled."""
        problem = ""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await asyncio.wrap_future(self._keeper.submit(self._refresh))
                problem = ""
            except LetterRecError as error:
                if str(error) != problem:
                    problem = str(error)
                    event("edits on the disk are not usable", logging.ERROR, reason=problem)

    def close(self) -> None:
        """Finish what was begun and stop."""
        with self._edits_lock:
            self._stopping = True
        self._keeper.shutdown(cancel_futures=True)
        self.batcher.close()

    def _make_edits(self) -> None:
        with self._edits_lock:
            taken, self._edits = self._edits, []
        if not taken:
            return
        results: list[Receipt | Exception]
        try:
            lock_by = min(waiting.ends for waiting in taken)
            edits, given = [w.edit for w in taken], [w.content for w in taken]
            results = list(self._editor.apply(edits, lock_by, given))
        except Exception as error:  # every waiting request must get the error
            results = [error] * len(taken)
        futures = [waiting.future for waiting in taken]
        loop = futures[0].get_loop()
        loop.call_soon_threadsafe(_settle, futures, results, self.engine.catalogue)

    def _reload(self) -> Engine:
        engine = opened(self._load)
        if engine.run_id != self.engine.run_id:  # else the version before stays what it was
            self.before = self.engine
        self.left = None
        self.engine, self._editor = engine, Editor(engine)
        return engine

    def _rollback(self) -> Engine:
        engine = self.before
        if engine is None:
            raise Conflict("no version was served before this one; reload another run first")
        with suppress(RunError):  # its folder may be gone by now
            engine.refresh()
        is_back = engine.run_id == self.left  # the run that was left is served again
        self.left = None if is_back else self.engine.run_id
        self.before = self.engine
        self.engine, self._editor = engine, Editor(engine)
        return engine

    def _refresh(self) -> None:
        before = self.engine.catalogue
        if self.engine.refresh():
            after = self.engine.catalogue
            if after.generation <= before.generation:
                was, now = before.generation, after.generation
                event("edits were replaced", logging.WARNING, generation=now, was=was)


def opened(load: Callable[[], Engine]) -> Engine:
    """Load an engine, and check that its data are those of the run and that it answers.

    Raises:
        LetterRecError: why the run cannot be served.
    """
    try:
        engine = load()
        _check(engine)
    except LetterRecError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {short(error, 200)}"
        raise RunError(f"the run cannot be loaded ({reason}); fit it again") from error
    return engine


def preloaded(editor: Editor | None, engine: Engine) -> None:
    """Load the encoders of an editor and of wishes, and keep their objects out of full garbage
    collections.

    Its libraries make hundreds of thousands of objects; collecting among them blocks all requests
    for up to two seconds on a busy machine. What requests leave behind is young, and collected.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    try:
        if engine.model.follows_instructions:
            engine.answer([engine.prepare(Query((), 1, instruction="anything"))])
        if editor is not None:
            editor.preload()
    finally:
        gc.freeze()
        gc.set_threshold(*thresholds)


def _check(engine: Engine) -> None:
    recorded = Run.open(engine.folder).data_fingerprint
    if recorded != engine.dataset.fingerprint:
        raise RunError(
            f"{engine.files.data} are not those that the run was made from (fingerprint "
            f"{engine.dataset.fingerprint}, recorded {recorded}); fit the run again"
        )
    probe = list(engine.dataset.item_ids[:1])
    engine.recommend([probe], k=1, exclude_seen=False)


def _settle(
    futures: list[asyncio.Future[Made]], results: list[Receipt | Exception], catalogue: Catalogue
) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(Made(catalogue, result))
