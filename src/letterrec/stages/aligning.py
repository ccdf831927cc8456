"""Post-training of a finished run into another: what it has learned is taken over, and then learns
preferences (`preference`). The run itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from letterrec.config.loading import changed
from letterrec.config.settings import Settings
from letterrec.data.dataset import Dataset
from letterrec.errors import RunError, SettingsError
from letterrec.files import link_or_copy
from letterrec.runs.reuse import take_learned
from letterrec.runs.run import Run
from letterrec.stages.compatibility import refuse_impossible
from letterrec.training import distributed

_CHANGING = {"preference", "transitions", "wishes", "evaluation", "tracker"}


def settings_of(run: Run, overrides: Sequence[str] | Mapping[str, object] | None) -> Settings:
    """A run's settings with preferences to be learned, and what else is changed.

    Args:
        run: that is aligned.
        overrides: as of `load_settings`.

    Raises:
        SettingsError: a setting is changed by which something else would have been learned.
    """
    chosen = changed(run.settings, overrides)
    before, after = run.settings.model_dump(), chosen.model_dump()
    others = sorted(name for name in after.keys() - _CHANGING if after[name] != before[name])
    if others:
        raise SettingsError(
            f"{', '.join(others)}: what {run.folder} has learned is taken over as it is; here "
            f"{', '.join(sorted(_CHANGING))} can be changed; fit a new run for the others"
        )
    preference = chosen.preference.model_copy(update={"enabled": True})
    return chosen.model_copy(update={"preference": preference})


def begin(run: Run, folder: Path, settings: Settings, *, resume: bool) -> tuple[Run, Dataset]:
    """Begin a run with all that another has learned but transitions and metrics.

    Args:
        run: finished.
        folder: of the new run.
        settings: of the new run: those of ``run``, with preferences.
        resume: go on with the run in the folder.

    Returns:
        The new run, with its data read, for `pipeline.go_on`; and these data.

    Raises:
        RunError: ``run`` is unfinished, or has learned all interactions or preferences already, or
            the folder is in use.
    """
    run.require("evaluation")
    run.refuse_learned()
    if run.settings.preference.enabled:
        raise RunError(
            f"{run.folder} has learned preferences already; start from the run that it was made of"
        )
    with distributed.main_first():
        dataset = run.dataset()
        refuse_impossible(settings, dataset, run.is_done)
        aligned = Run.start(folder, settings, run.about["source"], resume=resume)
        aligned.keep_data(dataset)
        take_learned(aligned, run)
        if run.files.catalogue.exists() and not aligned.files.catalogue.exists():
            link_or_copy(run.files.catalogue, aligned.files.catalogue)
    return aligned, dataset
