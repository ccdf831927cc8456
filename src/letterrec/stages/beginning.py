"""How a fit begins, and its rehearsal: the run, its data, and what others have learned of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from letterrec.config.settings import Settings
from letterrec.data import Dataset, Frames, Sources
from letterrec.data.reading import read_split
from letterrec.runs.reuse import take_over
from letterrec.runs.run import Run
from letterrec.stages.compatibility import refuse_impossible
from letterrec.training import rehearsal


def begin(
    source: str | Dataset | Frames | Sources,
    folder: Path,
    settings: Settings,
    *,
    resume: bool,
    reuse: Iterable[Path],
) -> tuple[Run, Dataset]:
    """Begin a run in a folder, or go on with the one that is there, up to the first stage that
    learns something.

    The arguments are those of `pipeline.fit`.

    Returns:
        The run, and its data.

    Raises:
        LetterRecError: source, settings and folder do not go together.
    """
    run = Run.start(folder, settings, source, resume=resume)
    with rehearsal.stage("read"):
        dataset, cold = read_split(source, settings.data, settings.seed)
        run.keep_data(dataset, cold)
    refuse_impossible(settings, dataset, run.is_done)
    take_over(run, reuse)
    return run, dataset
