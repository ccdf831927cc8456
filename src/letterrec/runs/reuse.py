"""What a run can take from others instead of learning it again: embeddings, tokenizer, weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from letterrec.config.settings import Settings
from letterrec.errors import RunError
from letterrec.files import link_or_copy
from letterrec.progress import say
from letterrec.runs.run import Run


def take_over(run: Run, others: Iterable[Path]) -> None:
    """Take what other runs have learned where this one would learn exactly the same.

    That is so where the data, the seed and all settings that decide a stage are equal. Files are
    linked, not copied, where the disk allows it: no run changes them in place.

    Args:
        run: has read its data.
        others: folders of runs; what holds no run, or a damaged one, is passed over.
    """
    for folder in others:
        if folder.resolve() == run.folder.resolve():
            continue
        try:
            other = Run.open(folder)
        except RunError:
            continue
        if not _same_data(run, other):
            continue
        for stage in run.files.learned:
            if stage not in run.stages or run.is_done(stage) or not other.is_done(stage):
                continue
            ours, theirs = deciding(run.settings, stage), deciding(other.settings, stage)
            if ours is None or ours != theirs:
                continue
            take_stage(run, other, stage)


def take_learned(run: Run, other: Run) -> None:
    """Take all that another run has learned of the same data, whatever it was decided by."""
    for stage in run.files.learned:
        if stage in run.stages and other.is_done(stage) and not run.is_done(stage):
            take_stage(run, other, stage)


def take_stage(run: Run, other: Run, stage: str) -> None:
    """Take what another run has of a stage: one that `Layout.learned` names."""
    for left in other.files.learned[stage]:
        for path in sorted(left.iterdir()) if left.is_dir() else [left]:
            if path.is_file():
                link_or_copy(path, run.folder / path.relative_to(other.folder))
    run.record(stage, {**other.about["stages"][stage], "from": str(other.folder)})
    say(f"  {stage}: taken over from {other.folder}")


def deciding(settings: Settings, stage: str) -> object:
    """All settings that the result of a stage depends on, to be compared.

    None where a file from outside decides it: that may be another file by now.
    """
    if settings.content.is_file and stage != "collaborative":
        return None
    content = settings.content.model_dump(exclude={"ids", "order"})
    if stage == "content":
        return content
    if settings.collaborative.source not in ("train", "given"):
        return None
    if stage == "recommender":
        return settings.model_dump(exclude={"preference", "transitions", "wishes", "tracker"})
    cf = (settings.seed, settings.data.max_history, settings.collaborative.model_dump())
    if stage == "collaborative":
        return cf
    made = content, cf, settings.tokenizer.model_dump(), settings.identifiers.model_dump()
    if settings.identifiers.source == "titles":  # whose tokens they are
        return *made, settings.recommender.text_model
    return made


def _same_data(run: Run, other: Run) -> bool:
    """Whether both have read the same: interactions, texts, embeddings that came with them."""
    ours, theirs = (r.about["stages"].get("read") for r in (run, other))
    if ours is None or theirs is None:
        return False
    data, sides = ours.get("fingerprint"), ours.get("side_fingerprint")
    if data is None or sides is None:
        return False
    return (data, sides) == (theirs.get("fingerprint"), theirs.get("side_fingerprint"))
