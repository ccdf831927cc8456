"""What people import: fit, refit, load, evaluate, inspect; their arguments in all usual forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Literal, TypedDict, cast, final, get_args

from letterrec import dry_run, pipeline
from letterrec.config.loading import load_settings, parse_settings
from letterrec.config.settings import Settings
from letterrec.data import AnySource, Dataset, Frame, Frames, Sources, as_frames, sources_of
from letterrec.data.domains import check_known, names_of
from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.frames import check as check_frames
from letterrec.data.splits import SPLITS, Split
from letterrec.embeddings.content import embed
from letterrec.errors import RequestError, RunError, SettingsError
from letterrec.evaluation import cold_start
from letterrec.evaluation.breakdowns import By, grouped
from letterrec.evaluation.protocol import SplitMetrics, evaluate_split, measured_cases
from letterrec.files import apart, write_json
from letterrec.identifiers.diagnostics import Diagnosis, LevelUse, domain_use
from letterrec.identifiers.identifiers import Identifiers
from letterrec.notebook import ShownDict, metrics_table
from letterrec.progress import shown
from letterrec.runs import comparing, forgetting, hub
from letterrec.runs.parts import is_baseline, measures_of, trained_baseline, trained_recommender
from letterrec.runs.refitting import Weights as StartingWeights
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine
from letterrec.serving.models import GenerativeModel, ScoringModel
from letterrec.serving.refit import refit_served
from letterrec.serving.vectors import write_embeddings
from letterrec.tokenizers import Items
from letterrec.training import distributed

AnySettings = Settings | Mapping[str, object] | str | PathLike[str] | None
AnyRun = str | PathLike[str] | Run


@final
class Weights(TypedDict):
    """What `inspect` says of a baseline: the shape of each tensor that training has decided, by
    name; of identifiers it has no levels.
    """

    recommender: str
    levels: list[LevelUse]
    weights: dict[str, list[int]]


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
    chosen, folder = _as_settings(settings, recipe), _as_folder(out, "out")
    if isinstance(reuse, str | PathLike | Run):  # one is no list of them
        reuse = [reuse]
    others = [_as_folder(other, "reuse") for other in reuse]
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
    chosen = _as_settings(settings, recipe)
    if isinstance(reuse, str | PathLike | Run):
        reuse = [reuse]
    others = [_as_folder(other, "reuse") for other in reuse]
    folder = None if out is None else _as_folder(out, "out")
    given = _as_source(source, items, chosen)
    with shown(progress):
        return dry_run.estimate(given, folder, chosen, resume=resume, reuse=others)


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
    path = _as_folder(folder, "folder")
    run = Run.open(hub.fetch(str(path), revision) if hub.is_name(str(path)) else path)
    run.require("recommender")
    dataset = run.dataset()
    if is_baseline(run.settings):
        engine = _baseline_engine(run, dataset)
    else:
        engine = _generative_engine(run, dataset, run.identifiers(dataset))
    if edits:
        engine.refresh()
    return engine


def forget(folder: AnyRun, user: object) -> Run:
    """Take a user out of all files of a run; see `runs.forgetting` for what stays.

    Args:
        folder: of a run, or the run.
        user: his id.

    Returns:
        The run, without him.

    Raises:
        NotFound: the run has no such user.
        RunError: there is no run, or it is damaged.
    """
    run = Run.open(_as_folder(folder, "folder"))
    forgetting.forget(run, user)
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
    run = Run.open(_as_folder(folder, "folder"))
    return hub.push(run, name, public=public, message=message)


def load_to_fork(folder: AnyRun) -> Engine:
    """Open a finished run so that the process can be forked after it: tables are read by a process
    of their own, whose threads end with it. Edits are looked at, and not taken over yet.

    Raises:
        RunError: there is no run, or it is unfinished or damaged.
    """
    run = Run.open(_as_folder(folder, "folder"))
    run.require("recommender")
    dataset = apart(run.dataset)
    if is_baseline(run.settings):
        engine = _baseline_engine(run, dataset)
    else:
        engine = _generative_engine(run, dataset, apart(lambda: run.identifiers(dataset)))
    apart(engine.changes_on_disk)  # which are refused now or never
    return engine


def _generative_engine(run: Run, dataset: Dataset, identifiers: Identifiers) -> Engine:
    content = run.embeddings("content", dataset.n_items)
    recommender = trained_recommender(run, dataset, identifiers, content)
    transitions = run.transitions(dataset.n_items) if run.is_done("transitions") else None
    model = GenerativeModel(recommender, run.settings.evaluation.beam)
    return Engine(
        run.folder,
        run.settings,
        dataset,
        identifiers,
        model,
        content,
        transitions,
        run_id=run.id,
    )


def _baseline_engine(run: Run, dataset: Dataset) -> Engine:
    model = ScoringModel(
        run.settings.recommender.name, trained_baseline(run, dataset), dataset.target_behaviours
    )
    none = Identifiers.none(dataset.n_items)
    return Engine(run.folder, run.settings, dataset, none, model, run_id=run.id)


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
    if weights not in (None, "nothing", "run"):
        raise RequestError(f"weights = {_shown(weights)}: expected 'nothing', 'run' or None")
    if epochs is not None and (isinstance(epochs, bool) or epochs < 1):
        raise RequestError(f"epochs = {_shown(epochs)}: expected a whole number of at least 1")
    path = _as_folder(folder, "folder")
    target = path.with_name(f"{path.name}-refit") if out is None else _as_folder(out, "out")
    distributed.join()
    run, engine = Run.open(path), load(path)
    has_domains = engine.dataset.domains is not None
    newer: str | Dataset | Frames | Sources | None = None
    if data is not None:
        newer = sources_of(as_frames(data, items) or data, named=has_domains)
    with shown(progress):
        return refit_served(
            engine, run, target, data=newer, weights=weights, epochs=epochs, resume=resume
        )


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

    Raises:
        RequestError: ``beam`` is below 1, or is given for a baseline; ``by`` is no kind of group;
            there is no such domain.
        RunError: there is no run, or it is unfinished or damaged, or was refitted on all
            interactions.
        SettingsError: a cut, a metric or the number of users is none.
    """
    beam = _as_beam(beam)
    if by is not None and by not in get_args(By):
        names = ", ".join(map(repr, get_args(By)))
        raise RequestError(f"by = {_shown(by)}: expected one of {names}, or None")
    Run.open(_as_folder(folder, "folder")).refuse_learned()
    engine = load(folder, edits=False)
    if beam is not None:
        engine.check_searches()
    settings = _measured_as(engine.settings, cuts, metrics, users)
    measures, users = measures_of(settings), settings.evaluation.test_users
    dataset, generates = engine.dataset, engine.model.generates
    if domain is not None:
        check_known(domain, names_of(dataset))
    with shown(progress):
        measured = evaluate_split(
            engine.ranker,
            dataset,
            split,
            beam=beam or (settings.evaluation.beam if generates else None),
            batch_size=settings.evaluation.batch_size,
            exclude_seen=exclude_seen,
            identifiers=engine.identifiers if generates else None,
            measures=measures,
            users=users,
            domain=domain,
        )
    result = measured.metrics
    if by is not None:
        cases = measured_cases(dataset, split, users, domain)
        result["groups"] = grouped(by, measured.ranks, cases, dataset, measures)
    caption = f"{split}, {result['users']} users"
    html = metrics_table(result["metrics"], result.get("standard_errors", {}), caption)
    return cast(SplitMetrics, ShownDict(result, html))


def _measured_as(
    settings: Settings, cuts: Iterable[int], metrics: Iterable[str], users: int | None
) -> Settings:
    """Settings of a run with further cuts and metrics, and another number of users.

    Raises:
        SettingsError: one of them is none.
    """
    there = settings.evaluation
    more = {"cuts": [*there.cuts, *cuts], "metrics": [*there.metrics, *metrics]}
    sample = {} if users is None else {"test_users": users}
    kept = settings.model_dump(mode="json", exclude_none=True)
    return parse_settings(kept | {"evaluation": kept["evaluation"] | more | sample})


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
    if split not in SPLITS:
        raise RequestError(f"split = {_shown(split)}: expected 'test' or 'valid'")
    return comparing.compare(_as_folder(first, "first"), _as_folder(second, "second"), split)


def evaluate_cold(folder: AnyRun, beam: int | None = None) -> cold_start.ColdMetrics:
    """Metrics on items held out of training (``data.cold_share``); see `cold_start.evaluate_cold`.

    Raises:
        RunError: nothing was held out, or the run has no tokenizer of its own.
    """
    beam = _as_beam(beam)
    run = Run.open(_as_folder(folder, "folder"))
    run.refuse_learned()
    run.require("recommender")
    dataset = run.dataset()
    cold = run.cold()
    content = run.embeddings("content", dataset.n_items)
    if content is None or not run.is_done("tokenizer"):
        raise RunError(
            f"{run.folder} has no tokenizer that makes identifiers from texts; "
            "fit with identifiers.source=learned on items with texts"
        )
    identifiers = run.identifiers(dataset)
    return cold_start.evaluate_cold(
        dataset,
        cold,
        trained_recommender(run, dataset, identifiers, content),
        identifiers,
        run.transitions(dataset.n_items) if run.is_done("transitions") else None,
        tokenizer=run.tokenizer(),
        known=Items(content, run.embeddings("collaborative", len(content))),
        new_content=embed(cold.texts, **run.settings.content.encoding()),
        beam=beam or run.settings.evaluation.beam,
    )


def inspect(folder: AnyRun) -> Diagnosis | Weights:
    """What a run's identifiers look like; see `identifiers.diagnostics.diagnose`. Of several
    sources also by domain.

    Of a baseline, which has none: its `Weights`.

    Raises:
        RunError: there is no run, or it is unfinished or damaged.
    """
    run = Run.open(_as_folder(folder, "folder"))
    if not is_baseline(run.settings):
        found = run.diagnostics()
        dataset = run.dataset()
        if dataset.domains is not None:
            found["domains"] = domain_use(run.identifiers(dataset), dataset.domains)
        return found
    weights = {name: list(tensor.shape) for name, tensor in run.weights().items()}
    return {"recommender": run.settings.recommender.name, "levels": [], "weights": weights}


def export(folder: AnyRun, out: str | PathLike[str], *, embeddings: bool = False) -> None:
    """Write the merged language model of a run, or its T5, the tokenizer, and ``index.json``: item
    -> tokens.

    Args:
        folder: of the run, or the run; its recommender is a language model or `tiger`.
        out: new or empty.
        embeddings: write the embeddings of items and users instead, with their ids, of any run that
            has some; see `serving.vectors.write_embeddings`.

    Raises:
        RequestError: the run has no language model, or the folder is in use.
        RunError: there is no run, or it is unfinished or damaged.
    """
    engine, target = load(folder), _as_folder(out, "out")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError(f"{target} is not an empty folder; name another --out")
    if embeddings:
        write_embeddings(engine, Run.open(engine.folder), target)
        return
    engine.model.export(target)
    identifiers, item_ids = engine.identifiers, engine.catalogue.item_ids
    index = {item: identifiers.token_names(row) for row, item in enumerate(item_ids)}
    write_json(target / "index.json", index)


def _as_settings(
    settings: AnySettings,
    recipe: str | PathLike[str] | None = None,
) -> Settings:
    """Settings from whatever `letterrec.fit` takes for them.

    Args:
        settings: what `load_settings` gave; a dict of what is changed, nested or with dots; a
            recipe, by its name or its file; or None.
        recipe: what a dict changes, or None does not change.

    Raises:
        SettingsError: neither, or a recipe beside settings that are complete without one.
    """
    if settings is None or isinstance(settings, Mapping):
        return load_settings(_recipe(recipe), settings)
    if not isinstance(settings, Settings | str | PathLike):
        raise SettingsError(
            f"settings = {_shown(settings)}: expected a dict such as {{'training.epochs': 5}}, the "
            "name of a recipe, or what letterrec.load_settings gives"
        )
    if recipe is not None:
        raise SettingsError(
            f"recipe = {_shown(recipe)} beside settings = {_shown(settings)}: give one of them, or "
            "the recipe and a dict of what is changed"
        )
    return settings if isinstance(settings, Settings) else load_settings(_recipe(settings))


def _as_folder(folder: AnyRun, name: str) -> Path:
    """A run's folder, given as its path or as the run.

    Raises:
        RunError: it is something else; ``name`` is what the message calls it.
    """
    if isinstance(folder, Run):
        return folder.folder
    if not isinstance(folder, str | PathLike) or not str(folder) or "\0" in str(folder):
        raise RunError(f"{name} = {_shown(folder)}: expected the path of a run's folder")
    return Path(folder)


def _as_beam(beam: int | None) -> int | None:
    """A beam width, or None for the run's.

    Raises:
        RequestError: it is no whole number of at least 1.
    """
    if beam is None or (isinstance(beam, int) and not isinstance(beam, bool) and beam >= 1):
        return beam
    raise RequestError(f"beam = {_shown(beam)}: expected a whole number of at least 1, or None")


def _recipe(recipe: str | PathLike[str] | None) -> str | Path | None:
    if recipe is None or isinstance(recipe, str):
        return recipe
    if not isinstance(recipe, PathLike):
        raise SettingsError(
            f"recipe = {_shown(recipe)}: expected a recipe's name or the path of a TOML file"
        )
    return Path(recipe)


def _shown(value: object) -> str:
    """A value on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"an object of type {type(value).__name__}"
