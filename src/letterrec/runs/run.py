"""A run: begun, opened or gone on with, stage by stage, in a folder.

A stage is done when run.json says so. `layout` says where everything is in the folder, and
`artefacts` reads and writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

from letterrec.config.settings import Settings, is_baseline
from letterrec.data.cold import ColdItems
from letterrec.data.dataset import Dataset
from letterrec.data.readers.frames import Frames
from letterrec.data.saved import write_dataset
from letterrec.data.sources import Sources
from letterrec.errors import RunError, short
from letterrec.files import fingerprint, refuse_damaged, write_json, write_text
from letterrec.processes.memory import give_back
from letterrec.progress import say
from letterrec.runs import tracking
from letterrec.runs.layout import Layout, holds_run
from letterrec.runs.learned import Learned
from letterrec.runs.notebook import html_table, metrics_table
from letterrec.runs.origin import differences, new_about, timestamp
from letterrec.runs.records import Refitted, StageRecord
from letterrec.training import distributed, rehearsal

STAGES = (
    "read",
    "content",
    "collaborative",
    "tokenizer",
    "identifiers",
    "recommender",
    "transitions",
    "evaluation",
)
PREFERENCE = "preference"  # a stage behind the recommender, where preferences are learned
WISHES = "wishes"  # a stage before the evaluation, where wishes are to be followed
_LONG = 10.0  # seconds of a stage that leaves memory worth giving back
_BASELINE_STAGES = ("read", "recommender", "evaluation")

Made = TypeVar("Made")
Kept = TypeVar("Kept")
Facts = dict[str, object]  # of a stage, for run.json


@dataclass(frozen=True)
class Stage(Generic[Made, Kept]):
    """A stage of a run.

    Attributes:
        name: its name in run.json.
        keep: writes what was made into the run's folder, and returns what run.json says of it.
        load: reads it back.
    """

    name: str
    keep: Callable[[Run, Dataset, Made], Facts]
    load: Callable[[Run, Dataset], Kept]


class Run(Learned):
    """A run folder, and how it comes to hold what it holds."""

    def __repr__(self) -> str:
        done = [stage for stage in self.stages if self.is_done(stage)]
        state = f"done up to {done[-1]}" if done else "nothing done"
        return f"Run({str(self.folder)!r}: {self.settings.recommender.name}, {state})"

    def _repr_html_(self) -> str:
        """In a notebook: what is done, how long it took, and the metrics."""
        stages = self.about["stages"]
        rows = [
            (stage, f"{stages[stage].get('seconds', 0):.1f}" if self.is_done(stage) else "to do")
            for stage in self.stages
        ]
        caption = f"{self.folder}: {self.settings.recommender.name}"
        html = html_table(("stage", "seconds"), rows, caption)
        if not self.is_done("evaluation") or "refitted" in self.about:
            return html
        test = self.metrics()["test"]
        told = f"test, {test['users']} users"
        return html + metrics_table(test["metrics"], test.get("standard_errors", {}), told)

    @classmethod
    def start(
        cls,
        folder: Path,
        settings: Settings,
        source: str | Dataset | Frames | Sources,
        *,
        resume: bool,
    ) -> Run:
        """Begin a run in an empty or new folder, or go on with the one that is there.

        Of several processes the main one comes first (`distributed.main_first`); the others find
        what it has begun, and go on with that whether ``resume`` is on or off.

        Raises:
            RunError: the folder holds a run and ``resume`` is off, or holds something else, or
                the run there was started with other settings or another source, or nothing can
                be written there.
        """
        try:
            run = cls.begun(folder, settings, resume=resume or not distributed.is_main())
            if run is not None:
                for half_written in folder.rglob(".*.tmp"):  # by a process that was killed
                    half_written.unlink(missing_ok=True)
                return run
            run = cls(folder, settings, new_about(str(source), settings.seed))
            write_text(run.files.settings, settings.to_toml())
            run._write()
        except OSError as error:
            raise RunError(
                f"{short(folder, 120)} cannot be written "
                f"({(error.strerror or str(error)).lower()}); name another --out"
            ) from None
        return run

    @classmethod
    def begun(cls, folder: Path, settings: Settings, *, resume: bool) -> Run | None:
        """The run that a fit into a folder goes on with; None where it begins one.

        Raises:
            RunError: as `start`, but for a folder that cannot be written.
            OSError: the folder cannot be read.
        """
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; --out needs a folder, new or empty")
        if holds_run(folder) and cls.open(folder).has_work:
            if not resume:
                raise RunError(
                    f"{folder} already holds a run; add --resume to go on with it, "
                    "or name another --out"
                )
            run = cls.open(folder)
            if run.settings.plain() != settings.plain():
                raise RunError(
                    f"{folder} was started with other settings "
                    f"({differences(run.settings, settings)}); resume with the same recipe and "
                    "--set values, or name another --out"
                )
            return run
        files = Layout(folder)
        ours = {path.name for path in (files.settings, files.about, files.data)}
        found = [p.name for p in folder.iterdir()] if folder.exists() else []
        if any(name not in ours and not name.endswith(".tmp") for name in found):
            raise RunError(f"{folder} is not empty and holds no run; name another --out")
        return None

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits by which this training is known; a copy of the folder has the
        same ones.
        """
        about = self.about
        recommender = about["stages"].get("recommender")
        trained = "" if recommender is None else recommender.get("finished", "")
        with refuse_damaged(self.files.settings):
            settings = self.files.settings.read_text("utf-8")
        made = (about["started"], about["source"], trained, self.data_fingerprint or "")
        return fingerprint(settings, *made)[:12]

    @property
    def has_work(self) -> bool:
        """Whether anything beyond reading the data has been done."""
        return self.about["stages"].keys() > {"read"} or self.files.training.exists()

    @property
    def stages(self) -> tuple[str, ...]:
        """What a run with these settings goes through, in order."""
        if is_baseline(self.settings):
            return _BASELINE_STAGES
        stages = list(STAGES)
        if self.settings.preference.enabled:
            stages.insert(stages.index("transitions"), PREFERENCE)
        if self.settings.wishes.enabled:
            stages.insert(stages.index("evaluation"), WISHES)
        return tuple(stages)

    def stage(self, stage: Stage[Made, Kept], dataset: Dataset, make: Callable[[], Made]) -> Kept:
        """What a stage gives: loaded if the run has it, else made, kept and loaded.

        Processes that work together make it together; the main one keeps it.

        Args:
            stage: one of `stages.stages`.
            dataset: of the run.
            make: does it.
        """
        if not self.is_done(stage.name):
            with self.timed(stage.name) as facts:
                made = make()
                if distributed.is_main():
                    facts |= stage.keep(self, dataset, made)
        return stage.load(self, dataset)

    @contextmanager
    def timed(self, name: str) -> Iterator[Facts]:
        """Time a stage and record it as done when the block ends well.

        The block may put what should be recorded into the dict that it gets.
        """
        say(f"[{self.stages.index(name) + 1}/{len(self.stages)}] {name}")
        started = time.perf_counter()
        record: Facts = {}
        try:
            with rehearsal.stage(name):
                yield record
        except BaseException as error:
            tracking.give_up(self.files, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        record["seconds"] = round(time.perf_counter() - started, 2)
        record["finished"] = timestamp()
        if time.perf_counter() - started > _LONG:
            give_back()
        self.record(name, record)

    def note_refitted(self, refitted: Refitted) -> None:
        """Note that the run learns all interactions, and from which run it comes."""
        self.about["refitted"] = refitted
        if distributed.is_main():
            self._write()

    def record(self, stage: str, record: Mapping[str, object]) -> None:
        """Note that a stage is done."""
        self.about["stages"][stage] = cast(StageRecord, record)
        if distributed.is_main():
            self._write()
        distributed.meet()

    def keep_data(self, dataset: Dataset, cold: ColdItems | None = None) -> None:
        """Keep the data that the run is made from, or see that they are those that it has.

        Args:
            dataset: as read.
            cold: items held out of it.

        Raises:
            RunError: the run was started on other data.
        """
        if self.is_done("read"):
            self.check_data(dataset)
            self._say_what_is_kept()
            return
        with self.timed("read") as facts:
            for warning in dataset.warnings:
                say(f"  note: {warning}")
            say(
                f"  {dataset.name}: {dataset.n_users} users, {dataset.n_items} items, "
                f"{dataset.n_interactions} interactions"
            )
            write_dataset(dataset, self.files.data)
            if cold is not None:
                say(f"  held out of training: {len(cold.item_ids)} items")
                cold.save(self.files.cold)
            facts |= {
                "name": dataset.name,
                **_facts_of(dataset),
                "warnings": list(dataset.warnings),
            }

    def note_data(self, dataset: Dataset) -> None:
        """Note that the run's data are others now, on purpose."""
        self.record("read", {**self.about["stages"]["read"], **_facts_of(dataset)})

    def _say_what_is_kept(self) -> None:
        kept = [stage for stage in self.stages if self.is_done(stage)]
        if "evaluation" in kept:
            say(f"{self.folder}: this run is finished; nothing is left to do")
        else:
            say(f"{self.folder}: going on; kept from before: {', '.join(kept)}")

    def check_data(self, dataset: Dataset) -> None:
        """Refuse to resume on other data.

        Raises:
            RunError: the data's fingerprint is another.
        """
        recorded = self.about["stages"]["read"]
        if dataset.fingerprint != self.data_fingerprint:
            changed = "interactions (users, items or their order)"
        elif "side_fingerprints" in recorded:
            before, now = recorded["side_fingerprints"], dataset.side_fingerprints
            changed = " and ".join(part for part in now if now[part] != before.get(part))
        elif "side_fingerprint" in recorded:  # as runs of format 1 have it
            same = recorded["side_fingerprint"] == dataset.side_fingerprint
            changed = "" if same else "texts, preferences, tokens or embeddings"
        else:
            say("  note: this run does not say what its texts were; they are taken to be the same")
            changed = ""
        if changed:
            raise RunError(
                f"{self.folder} was started on other data: the {changed} of the source have "
                "changed since; name another --out, or put the source back as it was"
            )

    def _write(self) -> None:
        write_json(self.files.about, self.about)


def _facts_of(dataset: Dataset) -> Facts:
    """What run.json says of data: how much there is, and what shows that they are the same."""
    return {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": dataset.n_interactions,
        "fingerprint": dataset.fingerprint,
        "side_fingerprint": dataset.side_fingerprint,
        "side_fingerprints": dataset.side_fingerprints,
    }
