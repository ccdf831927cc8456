"""What people import: fit, align, refit, load, evaluate, inspect; arguments in all usual forms.

What trains and what serves is imported by the calls that need it: to look at a run needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from letterrec.config.loading import AnySettings, as_settings
from letterrec.config.settings import Settings
from letterrec.data import AnySource, Dataset, Frame, Frames, Sources, as_frames, sources_of
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.frames import check as check_frames
from letterrec.data.splits import SPLITS, Split
from letterrec.errors import RequestError, quoted
from letterrec.evaluation.results import SplitMetrics
from letterrec.identifiers.diagnostics import Diagnosis
from letterrec.progress import shown
from letterrec.runs import inspecting
from letterrec.runs.artefacts import AnyRun, Artefacts, as_folder
from letterrec.runs.inspecting import Weights
from letterrec.runs.notebook import ShownDict, metrics_table

if TYPE_CHECKING:
    from letterrec.evaluation.breakdowns import By
    from letterrec.evaluation.cold_start import ColdMetrics
    from letterrec.runs import comparing
    from letterrec.runs.run import Run
    from letterrec.serving.engine import Engine
    from letterrec.stages import dry_run
    from letterrec.stages.refitting import StartingWeights


def fit(
    source: AnySource | Frame,
    out: str | PathLike[str],
    settings: AnySettings = None,
    resume: bool = False,
    *,
    items: Frame | None = None,
    recipe: str | PathLike[str] | None = None,
    reuse: AnyRun | Iterable[AnyRun] = (),
    until: Literal["identifiers", "evaluation"] = "evaluation",
    progress: bool = True,
) -> Run:
    """Make a recommender from a data source and keep it, with all that led to it, in ``out``.

    Under ``torchrun`` all processes call this; they share the recommender's training and ranking.

    Args:
        source: a folder or file in one of the formats of `letterrec.read`, ``"ml-100k"``, a polars
            or pandas DataFrame with an interaction a row, or what `letterrec.read` gave, which is
            taken as it is. Several in a list, or in a dict by name, are learned together; each is a
            domain, called as its folder is or as a path says (``NAME=PATH``), and its items are
            ``NAME/ID``.
        out: the run folder, new or empty; with ``resume`` also one that holds an unfinished run.
        settings: a dict of what is changed, nested or with dots (``{"training.epochs": 5}``), or
            what `load_settings` gave; a recipe's name is taken too. None takes the default recipe.
        resume: go on where a run in ``out`` stopped.
        items: the catalogue beside a DataFrame: another, with an item a row.
        recipe: the recipe that a dict of settings changes, by its name or its TOML file.
        reuse: other runs, or their folders. What they have learned from the same data with the same
            settings (embeddings, tokenizer, identifiers) is taken over instead of learned again.
        until: the last stage wanted; with ``resume`` a later call goes on from there.
        progress: show on stderr what is being done. Without it nothing is printed; either way the
            logger ``letterrec`` has it.

    Returns:
        The run, finished up to ``until``.

    Raises:
        LetterRecError: source, settings and folder do not go together; in one line.
    """
    from letterrec import pipeline
    from letterrec.training import distributed

    chosen, folder = as_settings(settings, recipe), as_folder(out, "out")
    others = _as_folders(reuse)
    distributed.join()
    with distributed.main_first():  # whose message of a source that is not there is enough
        given = _as_source(source, items, chosen)
    with shown(progress):
        return pipeline.fit(given, folder, chosen, resume=resume, reuse=others, until=until)


def estimate(
    source: AnySource | Frame,
    out: str | PathLike[str] | None = None,
    settings: AnySettings = None,
    resume: bool = False,
    *,
    items: Frame | None = None,
    recipe: str | PathLike[str] | None = None,
    reuse: AnyRun | Iterable[AnyRun] = (),
    progress: bool = True,
) -> dry_run.Estimate:
    """Estimate the time and memory of a `fit` on this machine, from a few real steps of each stage.

    Nothing is kept. Takes seconds, and what reading the data takes.

    Args:
        source: the arguments are those of `fit`.
        out: where the run would go: checked as `fit` does, and not written to; None checks none.
        settings: see `fit`.
        resume: estimate what is left of the run in ``out``.
        items: see `fit`.
        recipe: see `fit`.
        reuse: see `fit`.
        progress: show notes on stderr.

    Returns:
        Seconds, largest memory and trainings by stage, and of all.

    Raises:
        LetterRecError: what `fit` would refuse.
    """
    from letterrec import pipeline
    from letterrec.stages import dry_run

    chosen = as_settings(settings, recipe)
    others = _as_folders(reuse)
    folder = None if out is None else as_folder(out, "out")
    given = _as_source(source, items, chosen)
    with shown(progress):
        return dry_run.estimate(given, folder, chosen, pipeline.go_on, resume=resume, reuse=others)


def _as_folders(reuse: AnyRun | Iterable[AnyRun]) -> list[Path]:
    """The folders of the runs to take from; one run is no list of them."""
    runs = [reuse] if isinstance(reuse, str | PathLike | Artefacts) else reuse
    return [as_folder(run, "reuse") for run in runs]


def _as_source(
    source: AnySource | Frame, items: Frame | None, settings: Settings
) -> str | Dataset | Frames | Sources:
    """A source in the forms that the pipeline takes; what cannot be read leaves no run behind.

    Raises:
        DataError: it is none.
    """
    given = sources_of(as_frames(source, items) or source)
    if not isinstance(given, Dataset):
        options = ReadOptions(**settings.data.reading())
        if isinstance(given, Frames):
            check_frames(given, options)
    return given


def load(folder: AnyRun, edits: bool = True, *, revision: str | None = None) -> Engine:
    """Open a finished run to recommend from.

    Args:
        folder: of the run, or the run that `letterrec.fit` gave; or ``"USER/NAME"`` of a run on the
            Hugging Face Hub (`push`), where there is no such folder here.
        edits: take over what was added, blocked and deleted since training; without them the
            catalogue is the one trained on.
        revision: a branch, tag or commit on the Hub; None: the newest.

    Raises:
        RunError: there is no run, or it is unfinished or damaged, or the Hub is out of reach.
    """
    from letterrec.runs import hub
    from letterrec.serving import opening

    path = as_folder(folder, "folder")
    found = hub.fetch(str(path), revision) if hub.is_name(str(path)) else path
    return opening.load(_opened(found), edits=edits)


def forget(folder: AnyRun, user: object) -> Run:
    """Take a user out of all files of a run; see `runs.forgetting` for what stays.

    Args:
        folder: of a run, or the run.
        user: his id; or a list of ids, all of which are forgotten, or none.

    Returns:
        The run, without him.

    Raises:
        NotFound: the run has no such user.
        RequestError: it has no other, or it is no id.
        RunError: there is no run, or it is damaged.
    """
    from letterrec.runs import forgetting

    run = _opened(folder)
    forgetting.forget(run, user if isinstance(user, list | tuple) else [user])
    return run


def push(folder: AnyRun, name: str, *, public: bool = False, message: str | None = None) -> str:
    """Put a run on the Hugging Face Hub, with a model card; `load` takes it from there.

    Args:
        folder: of a run, or the run.
        name: of the repository, ``USER/NAME``; made if it is not there.
        public: let everyone see it, if it is made now. A run holds its users' histories.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        RunError: there is no run, or it is unfinished.
        RequestError: the Hub does not take it.
    """
    from letterrec.runs import hub

    return hub.push(_opened(folder), name, public=public, message=message)


def refit(
    folder: AnyRun,
    out: str | PathLike[str] | None = None,
    *,
    data: AnySource | Frame | None = None,
    items: Frame | None = None,
    weights: StartingWeights | None = None,
    epochs: int | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train what a run recommends with on all interactions, those held out too, into a new run.

    Identifiers, tokenizer and embeddings stay as they are. Epochs and the strengths of transitions
    are those that validation chose. Nothing is left to measure the new run by: `evaluate` refuses
    it.

    Args:
        folder: of a finished run, or the run.
        out: the new run's folder; None: beside the run's, with ``-refit`` behind its name.
        data: a newer log, in any form that `fit` takes, read by the run's settings. Items that the
            run knows keep their identifiers, new ones get theirs from their texts.
        items: the catalogue beside a DataFrame.
        weights: where training starts: ``"nothing"``, or ``"run"``, from what the run has learned,
            for a third of the epochs. None: from nothing, and with ``data`` from the run. A
            baseline starts from nothing.
        epochs: how many instead of those chosen.
        resume: go on where a refit into ``out`` was stopped.
        progress: show on stderr what is being done.

    Returns:
        The new run.

    Raises:
        LetterRecError: the run is unfinished, ``out`` is in use, or the data do not fit the run.
    """
    from letterrec.serving.refit import refit_served
    from letterrec.training import distributed

    if weights not in (None, "nothing", "run"):
        raise RequestError(f"weights = {quoted(weights)}: expected 'nothing', 'run' or None")
    if epochs is not None and (isinstance(epochs, bool) or epochs < 1):
        raise RequestError(f"epochs = {quoted(epochs)}: expected a whole number of at least 1")
    path = as_folder(folder, "folder")
    target = path.with_name(f"{path.name}-refit") if out is None else as_folder(out, "out")
    distributed.join()
    run, engine = _opened(path), load(path)
    has_domains = engine.dataset.domains is not None
    newer: str | Dataset | Frames | Sources | None = None
    if data is not None:
        newer = sources_of(as_frames(data, items) or data, named=has_domains)
    with shown(progress):
        return refit_served(
            engine, run, target, data=newer, weights=weights, epochs=epochs, resume=resume
        )


def align(
    folder: AnyRun,
    out: str | PathLike[str] | None = None,
    settings: Mapping[str, object] | Sequence[str] | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train a finished run's recommender on preferences (DPO), into a new run.

    After histories of training, what was chosen next is preferred to the items that the
    recommender's own beams offered. Transitions and metrics are made anew; all else is taken over.
    Where validation shows no gain the weights stay as they were.

    Args:
        folder: of a finished run of a recommender that learns preferences, or the run.
        out: the new run's folder; None: beside the run's, with ``-aligned`` behind its name.
        settings: what is changed of the run's, as `letterrec.load_settings` takes overrides; the
            section ``preference`` says how preferences are learned.
        resume: go on where an alignment into ``out`` was stopped.
        progress: show on stderr what is being done.

    Returns:
        The new run.

    Raises:
        LetterRecError: the run is unfinished, ``out`` is in use, or a setting is none of those that
            can change.
    """
    from letterrec import pipeline
    from letterrec.stages import aligning
    from letterrec.training import distributed

    path = as_folder(folder, "folder")
    target = path.with_name(f"{path.name}-aligned") if out is None else as_folder(out, "out")
    distributed.join()
    run = _opened(path)
    chosen = aligning.settings_of(run, settings)
    with shown(progress):
        return pipeline.go_on(*aligning.begin(run, target, chosen, resume=resume))


def evaluate(
    folder: AnyRun,
    split: Split = "test",
    beam: int | None = None,
    exclude_seen: bool = False,
    progress: bool = True,
    *,
    by: By | None = None,
    cuts: Iterable[int] = (),
    metrics: Iterable[str] = (),
    users: int | None = None,
    domain: str | None = None,
    behaviour: str | None = None,
) -> SplitMetrics:
    """Metrics of a finished run on a split, with their standard errors; see
    `evaluation.protocol.evaluate_split`.

    Args:
        folder: of the run, or the run that `letterrec.fit` gave.
        split: whose held-out interactions are ranked.
        beam: prefixes kept per level by beam search; None takes the run's. Not for a baseline.
        exclude_seen: rank without the items of the history, as in service.
        progress: show on stderr how far the ranking is.
        by: also by group of users: ``"history"``, by its length; ``"popularity"`` of what was held
            out; ``"user"``, by how much of the user is in training.
        cuts: further ones, beside the run's (``evaluation.cuts``).
        metrics: further ones, beside the run's: ``"mrr"``, ``"hit_rate"``.
        users: rank a sample of at most so many; None takes the run's ``evaluation.test_users``.
        domain: of a run of several sources: rank the items of this one alone, for the users whose
            held-out item is of it. None ranks all items, and tells the domains apart beside that.
        behaviour: ask for this one alone, such as ``"buy"``: of each user the first interaction of
            the split that is of it, be it a target or context. None asks for the run's targets,
            and tells their behaviours apart beside that.

    Raises:
        RequestError: ``beam`` is below 1, or is given for a baseline; ``by`` is no kind of group;
            there is no such domain or behaviour, or the run cannot be asked for it.
        RunError: there is no run, or it is unfinished or damaged, or was refitted on all
            interactions.
        SettingsError: a cut, a metric or the number of users is none.
    """
    from letterrec.evaluation.breakdowns import By
    from letterrec.serving import opening
    from letterrec.serving.evaluating import evaluate_served

    beam = _as_beam(beam)
    if by is not None and by not in get_args(By):
        names = ", ".join(map(repr, get_args(By)))
        raise RequestError(f"by = {quoted(by)}: expected one of {names}, or None")
    run = _opened(folder)
    run.refuse_learned()
    engine = opening.load(run, edits=False)
    with shown(progress):
        result = evaluate_served(
            engine,
            split,
            beam=beam,
            exclude_seen=exclude_seen,
            by=by,
            cuts=cuts,
            metrics=metrics,
            users=users,
            domain=domain,
            behaviour=behaviour,
        )
    caption = f"{split}, {result['users']} users"
    html = metrics_table(result["metrics"], result.get("standard_errors", {}), caption)
    return cast(SplitMetrics, ShownDict(result, html))


def compare(first: AnyRun, second: AnyRun, split: Split = "test") -> comparing.Comparison:
    """What one run gains over another, with paired intervals; see `runs.comparing.compare`.

    Args:
        first: a finished run, or its folder.
        second: another of the same data.
        split: ``"test"`` or ``"valid"``.

    Raises:
        RunError: they are unfinished, or of other data or users.
        RequestError: there is no such split.
    """
    from letterrec.runs import comparing

    if split not in SPLITS:
        raise RequestError(f"split = {quoted(split)}: expected 'test' or 'valid'")
    return comparing.compare(as_folder(first, "first"), as_folder(second, "second"), split)


def evaluate_cold(folder: AnyRun, beam: int | None = None) -> ColdMetrics:
    """Metrics on items held out of training (``data.cold_share``); see `cold_start.evaluate_cold`.

    Raises:
        RunError: nothing was held out, or the run has no tokenizer of its own.
    """
    from letterrec.stages.measuring import measure_cold

    beam = _as_beam(beam)
    return measure_cold(_opened(folder), beam)


def inspect(folder: AnyRun) -> Diagnosis | Weights:
    """What a run's identifiers look like; see `identifiers.diagnostics.diagnose`. Of several
    sources also by domain.

    Of a baseline, which has none: its `Weights`.

    Raises:
        RunError: there is no run, or it is unfinished or damaged.
    """
    return inspecting.inspect(Artefacts.open(as_folder(folder, "folder")))


def export(folder: AnyRun, out: str | PathLike[str], *, embeddings: bool = False) -> None:
    """Write the merged language model of a run, or its T5, the tokenizer, and ``index.json``: item
    -> tokens.

    Args:
        folder: of the run, or the run; its recommender is a language model or `tiger`.
        out: new or empty.
        embeddings: write the embeddings of items and users instead, with their ids, of any run that
            has some; see `serving.exporting.write_embeddings`.

    Raises:
        RequestError: the run has no language model, or the folder is in use.
        RunError: there is no run, or it is unfinished or damaged.
    """
    from letterrec.serving import exporting

    exporting.export(load(folder), as_folder(out, "out"), embeddings=embeddings)


def _opened(folder: AnyRun) -> Run:
    """The run in a folder.

    Raises:
        RunError: there is none, or it is damaged.
    """
    from letterrec.runs.run import Run

    return Run.open(as_folder(folder, "folder"))


def _as_beam(beam: int | None) -> int | None:
    """A beam width, or None for the run's.

    Raises:
        RequestError: it is no whole number of at least 1.
    """
    if beam is None or (isinstance(beam, int) and not isinstance(beam, bool) and beam >= 1):
        return beam
    raise RequestError(f"beam = {quoted(beam)}: expected a whole number of at least 1, or None")
