"""Two runs of the same data: what one gains over the other, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from letterrec.data.splits import Split
from letterrec.errors import RunError
from letterrec.evaluation.metrics import Measures, measures_of
from letterrec.evaluation.significance import paired_bootstrap
from letterrec.runs.artefacts import Artefacts


class Gain(TypedDict):
    """A metric of two runs on the same users.

    Attributes:
        first, second: its mean for either run.
        difference: the second minus the first.
        low, high: 95 % interval of the difference, by resampling users.
        p: two-sided.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


class Comparison(TypedDict):
    """What is said of two runs on a split."""

    runs: list[str]
    split: Split
    users: int
    metrics: dict[str, Gain]


def compare(first: Path, second: Path, split: Split = "test") -> Comparison:
    """Compare two finished runs by the ranks that they keep, user by user.

    Args:
        first: folder of a run.
        second: folder of a run of the same data, split and users.
        split: ``"test"`` or ``"valid"``.

    Raises:
        RunError: one of them is unfinished, was refitted on all interactions or keeps no ranks, or
            they were made from other data or measured on other users.
    """
    one, other = Artefacts.open(first), Artefacts.open(second)
    for run in (one, other):
        run.require("evaluation")
    _refuse_others(one, other)
    theirs, ours = one.ranks(split), other.ranks(split)
    if len(theirs) != len(ours):
        raise RunError(
            f"{first} measured {len(theirs)} users of the {split} split and {second} {len(ours)}; "
            "evaluate both on the same with the same evaluation.test_users"
        )
    measures = _shared(one, other)
    before, after = measures.of_cases(theirs), measures.of_cases(ours)
    gains: dict[str, Gain] = {}
    for name in before:
        found = paired_bootstrap(after[name][None], before[name][None])
        gains[name] = {
            "first": float(before[name].mean()) if found.users else 0.0,
            "second": float(after[name].mean()) if found.users else 0.0,
            "difference": found.mean,
            "low": found.low,
            "high": found.high,
            "p": found.p,
        }
    runs = [str(first), str(second)]
    return {"runs": runs, "split": split, "users": len(ours), "metrics": gains}


def _refuse_others(one: Artefacts, other: Artefacts) -> None:
    """Refuse runs whose users cannot be told to be the same."""
    there, here = one.data_fingerprint, other.data_fingerprint
    if there is None or there != here:
        kinds = (one.settings.data.split, other.settings.data.split)
        how = f", split {kinds[0]} and {kinds[1]}" if kinds[0] != kinds[1] else ""
        raise RunError(
            f"{one.folder} and {other.folder} are of other data or another split (fingerprints "
            f"{there} and {here}{how}); compare runs fitted on the same source with the same "
            "settings data.*"
        )
    samples = tuple(run.settings.evaluation.test_users for run in (one, other))
    if samples[0] != samples[1]:
        raise RunError(
            f"{one.folder} and {other.folder} were measured on other samples of users "
            f"(evaluation.test_users = {samples[0]} and {samples[1]}); fit both with the same"
        )


def _shared(one: Artefacts, other: Artefacts) -> Measures:
    """The metrics and cuts that both runs have."""
    mine, theirs = measures_of(one.settings), measures_of(other.settings)
    return Measures(
        tuple(k for k in mine.cuts if k in theirs.cuts),
        tuple(name for name in mine.metrics if name in theirs.metrics),
    )
