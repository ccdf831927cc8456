"""What the JSON files of a run hold, checked as they are read; further keys are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NotRequired, Required, TypeVar, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from letterrec.errors import RunError, short
from letterrec.evaluation.results import Evaluation
from letterrec.files import read_json, refuse_damaged
from letterrec.identifiers.diagnostics import Diagnosis

FORMAT = 2  # of a run folder; runs made before there were numbers are of format 1
Checked = TypeVar("Checked")


class StageRecord(TypedDict, total=False):
    """A stage that is done: what is read of it again, among other facts."""

    seconds: Required[float]
    finished: str
    best_epoch: int
    users: int
    fingerprint: str | None
    side_fingerprint: str | None
    side_fingerprints: dict[str, str]


class Refitted(TypedDict):
    """Of a run that has learned all interactions: from which run, how long, and from what weights
    (``nothing`` or those of that ``run``); ``epochs`` is 0 where there are none.
    """

    run: str
    epochs: Annotated[int, Field(ge=0)]
    weights: str


class RunRecord(TypedDict):
    """``run.json``; runs of format 1 do not say theirs."""

    format: NotRequired[Annotated[int, Field(ge=1)]]
    letterrec: str
    source: str
    seed: int
    started: str
    commit: str | None
    python: str
    packages: dict[str, str]
    machine: dict[str, object]
    stages: dict[str, StageRecord]
    refitted: NotRequired[Refitted]


class Record(BaseModel):
    """An object of ``metrics.json``: what readers rely on. Its type has more, which runs of earlier
    versions do not say.
    """


class Figures(Record):
    """Metrics of a split."""

    recall_5: float = Field(alias="recall@5")
    recall_10: float = Field(alias="recall@10")
    ndcg_5: float = Field(alias="ndcg@5")
    ndcg_10: float = Field(alias="ndcg@10")


class Split(Record):
    """What was measured on a split; ``beam`` where there was a search."""

    users: int
    beam: int | None = None
    users_per_second: float
    metrics: Figures
    identifier_metrics: Figures | None = None


class PopularityBySplit(Record):
    """Metrics of the most frequent items."""

    valid: Figures
    test: Figures


class Metrics(Record):
    """``metrics.json``."""

    valid: Split
    test: Split
    popularity: PopularityBySplit


_ABOUT = TypeAdapter(RunRecord)
_DIAGNOSTICS = TypeAdapter(Diagnosis)
_METRICS = TypeAdapter(Metrics)


def read_about(path: Path) -> RunRecord:
    """``run.json``; see `_checked` for what is raised."""
    return cast(RunRecord, _checked(path, _ABOUT))


def read_metrics(path: Path) -> Evaluation:
    """``metrics.json``, which has both splits and popularity; see `_checked`."""
    return cast(Evaluation, _checked(path, _METRICS))


def read_diagnostics(path: Path) -> Diagnosis:
    """``diagnostics.json``; see `_checked`."""
    return cast(Diagnosis, _checked(path, _DIAGNOSTICS))


def _checked(path: Path, kind: TypeAdapter[Checked]) -> object:
    """A JSON object of a run, as it stands in the file.

    Raises:
        RunError: the file is missing or damaged, holds something else, or is of a newer version.
    """
    value: object = read_json(path)
    made = value.get("format") if isinstance(value, dict) else None
    if kind is _ABOUT and isinstance(made, int) and made > FORMAT:
        raise RunError(
            f"{path.parent} was made by a newer version (format {short(made, 9)}; this one reads "
            f"up to {FORMAT}); open it with that version of letterrec"
        )
    with refuse_damaged(path):
        try:
            kind.validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "all of it"
            raise RunError(
                f"{path} is damaged ({short(where, 80)}: {first['msg'].lower()}); fit the run again"
            ) from None
    return value
