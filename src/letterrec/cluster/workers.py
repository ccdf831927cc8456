"""Parts of work as Ray Data does them: `map_batches` over stateful actors, one part at a time.

An actor that is lost, with its machine or alone, loses the part that it had. What came back before
stays; the rest is handed out again to what is left of the cluster.
"""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from letterrec.errors import LetterRecError, RunError
from letterrec.processes.jobs import Start
from letterrec.progress import say

if TYPE_CHECKING:
    from ray import ObjectRef

P = TypeVar("P")
R = TypeVar("R")
Batch = dict[str, NDArray[np.generic]]
_LOSSES = 5  # in a row, without one part done between them, until the job gives up


class RayWorkers:
    """The processes of a Ray cluster that this process is connected to.

    Args:
        count: how many work at a time, at most; None: one for every GPU of the cluster, or for
            every CPU where it has none.
        folder: where parts leave their files for one another; all machines share it.
    """

    def __init__(self, count: int | None, folder: Path) -> None:
        self.count = count
        self.folder = folder

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder within `folder`; see `jobs.scratch`."""
        inside = self.folder / name
        inside.mkdir(parents=True, exist_ok=True)
        yield inside
        shutil.rmtree(inside)
        with suppress(OSError):  # there is more in it
            self.folder.rmdir()

    def do(self, start: Start[P, R], parts: Sequence[P]) -> Iterator[tuple[P, R]]:
        """Each part with its result, as they get done; see `jobs.do`.

        Raises:
            LetterRecError: what a part raised.
            RunError: the cluster loses every process that it starts.
        """
        from ray.exceptions import RayError, RayTaskError

        left, losses = set(range(len(parts))), 0
        while left:
            try:
                for i, result in _pass(start, parts, sorted(left), self.count):
                    left.remove(i)
                    losses = 0
                    yield parts[i], result
            except RayTaskError:  # a defect
                raise
            except RayError as error:
                losses += 1
                reason = reason_of(error)
                if losses == _LOSSES:
                    raise RunError(
                        f"the cluster lost {losses} processes in a row before they had done "
                        f"anything ({reason}); see its logs, often there is too little memory; "
                        "then run the command again: what is done is kept"
                    ) from None
                say(f"  note: a process of the cluster is lost ({reason}): {len(left)} parts left")


def reason_of(loss: Exception) -> str:
    """Why a process was lost, in one line.

    >>> reason_of(RuntimeError("The node died.\\nIts logs: ...")), reason_of(RuntimeError())
    ('The node died.', 'no reason given')
    """
    return (str(loss).strip() or "no reason given").splitlines()[0][:200]


def slots() -> tuple[str, int]:
    """What a process of the cluster takes one of, ``GPU`` or ``CPU``, and how many there are."""
    import ray

    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    kind = "GPU" if found.get("GPU", 0) >= 1 else "CPU"
    return kind, max(1, int(found.get(kind, 1)))


def _pass(
    start: Start[P, R], parts: Sequence[P], left: list[int], count: int | None
) -> Iterator[tuple[int, R]]:
    """Hand out the parts that are left, once: the number of each and its result.

    Raises:
        RayError: a process was lost.
    """
    import ray
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    kind, free = slots()
    sent = {i: ray.put(parts[i]) for i in left}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_restarts
        done = ray.data.from_items(left, override_num_blocks=len(left)).map_batches(
            _Worker,
            fn_constructor_args=(start, sent),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(count or free, free, len(left))),
            num_cpus=1,
            num_gpus=1 if kind == "GPU" else None,
            max_restarts=0,  # a lost actor could wait for room forever; its parts need not
        )
    for row in done.iter_rows():
        result, error = pickle.loads(row["result"])
        if error is not None:
            raise error
        yield int(row["number"]), result


class _Worker(Generic[P, R]):
    """A process that does parts; Ray Data calls it with the number of one at a time.

    Args:
        start: see `jobs.do`. It is called with the first part, so that what it raises comes back.
        sent: references to the parts, by their numbers.
    """

    def __init__(self, start: Start[P, R], sent: dict[int, ObjectRef[P]]) -> None:
        self._start, self._sent = start, sent
        self._work: Callable[[P], R] | None = None

    def __call__(self, batch: Batch) -> dict[str, list[object]]:
        import ray

        number = int(batch["item"][0])
        result: R | None = None
        error: LetterRecError | None = None
        try:
            if self._work is None:
                self._work = self._start()
            result = self._work(ray.get(self._sent[number]))
        except LetterRecError as raised:
            error = raised
        return {"number": [number], "result": [pickle.dumps((result, error))]}
