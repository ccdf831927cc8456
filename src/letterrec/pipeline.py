"""The whole method, in the paper's order: from interactions to an evaluated recommender.

Each step takes what the steps before it gave, keeps its result in the run folder, and is read from
there when a run is resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.config.compatibility import refuse_impossible
from letterrec.config.settings import LcRecSettings, Settings
from letterrec.data import Dataset, HeldOut, Split, check_source, read
from letterrec.data.readers.options import ReadOptions
from letterrec.decoding.transitions import Transitions, likeness_of
from letterrec.decoding.trie import Trie
from letterrec.embeddings import collaborative
from letterrec.embeddings.content import embed, encoder_tokenizer
from letterrec.errors import SettingsError
from letterrec.evaluation import cold_start
from letterrec.evaluation.metrics import Ranks, ranks_of, summarise
from letterrec.evaluation.protocol import (
    evaluate_split,
    popularity_metrics,
    recommend_rows,
    sample_cases,
)
from letterrec.files import read_tensors, reading, write_tensors
from letterrec.identifiers.identifiers import Identifiers, diagnose, parse_tokens
from letterrec.identifiers.titles import title_identifiers
from letterrec.progress import say, shown
from letterrec.recommenders import RECOMMENDERS
from letterrec.recommenders.lcrec import llm
from letterrec.runs.arguments import as_folder, as_settings
from letterrec.runs.reuse import take_over
from letterrec.runs.run import STAGES, Run
from letterrec.tokenizers import TOKENIZERS
from letterrec.training import distributed
from letterrec.training.loop import device, set_seed

Embeddings = NDArray[np.float32]


def fit(
    source: str | PathLike[str] | Dataset,
    out: str | PathLike[str],
    settings: Settings | Mapping[str, Any] | str | None = None,
    resume: bool = False,
    *,
    recipe: str | PathLike[str] | None = None,
    reuse: Iterable[Path] = (),
    until: Literal["identifiers", "evaluation"] = "evaluation",
    progress: bool = True,
) -> Run:
    """Make a recommender from a data source and keep it, with all that led to it, in ``out``.

    Under ``torchrun`` all processes call this; they share the recommender's training and ranking.

    Args:
        source: a folder or file in one of the formats of `letterrec.read`, ``"ml-100k"``, or what
            `letterrec.read` gave, which is taken as it is.
        out: the run folder, new or empty; with ``resume`` also one that holds an unfinished run.
        settings: a dict of what is changed, nested or with dots (``{"training.epochs": 5}``), or
            what `load_settings` gave; a recipe's name is taken too. None takes the default recipe.
        resume: go on where a run in ``out`` stopped.
        recipe: the recipe that a dict of settings changes, by its name or its TOML file.
        reuse: folders of other runs. What they have learned from the same data with the same
            settings (embeddings, tokenizer, identifiers) is taken over instead of learned again.
        until: the last stage wanted; with ``resume`` a later call goes on from there.
        progress: show on stderr what is being done. Without it nothing is printed; either way the
            logger ``letterrec`` has it.

    Returns:
        The run, finished up to ``until``.
    """
    settings, folder = as_settings(settings, recipe), as_folder(out, "out")
    distributed.join()
    with shown(progress), distributed.main_first():
        resume = resume or distributed.is_helper()  # what the main process has begun
        run = Run.start(folder, settings, _told(source, settings), resume=resume)
        kept = [stage for stage in STAGES if run.is_done(stage)]
        dataset = read_data(run, source)
        _say_what_is_kept(run, kept)
        refuse_impossible(settings, dataset, has_cf=run.is_done("collaborative"))
        take_over(run, reuse)
        content = content_embeddings(run, dataset)
        cf = collaborative_embeddings(run, dataset)
        identifiers = item_identifiers(run, dataset, content if content is not None else cf, cf)
    if until == "identifiers":
        return run
    with shown(progress), distributed.together():
        recommender = trained_recommender(run, dataset, identifiers, content)
        transitions = remembered_transitions(run, dataset, identifiers, content, recommender)
        evaluation(run, dataset, identifiers, recommender, transitions)
    return run


def _say_what_is_kept(run: Run, kept: list[str]) -> None:
    if "evaluation" in kept:
        say(f"{run.folder}: this run is finished; nothing is left to do")
    elif kept:
        say(f"{run.folder}: going on; kept from before: {', '.join(kept)}")


def _told(source: str | PathLike[str] | Dataset, settings: Settings) -> str:
    """How run.json names a source; one that cannot be read leaves no run behind."""
    if isinstance(source, Dataset):
        return repr(source)
    ReadOptions(**settings.data.reading())
    check_source(source)
    return str(source)


def read_data(run: Run, source: str | PathLike[str] | Dataset) -> Dataset:
    """Interactions in time order, items with their text, external ids (section 5.1)."""
    if isinstance(source, Dataset):
        given = {
            k: v for k, v in run.settings.data.reading().items() if v not in (None, {}, "time")
        }
        if given:
            name, value = next(iter(given.items()))
            raise SettingsError(
                f"data.{name} = {value!r}, but {source!r} is taken as it is; "
                f"give {name} to letterrec.read instead"
            )
        dataset = source
    else:
        dataset = read(source, **run.settings.data.reading())
    held_out = None
    if run.settings.data.cold_share > 0:
        dataset, held_out = cold_start.hold_out(
            dataset, run.settings.data.cold_share, run.settings.seed
        )
    if run.is_done("read"):
        run.check_data(dataset)
        return dataset
    with run.stage("read") as record:
        for warning in dataset.warnings:
            say(f"  note: {warning}")
        say(
            f"  {dataset.name}: {dataset.n_users} users, {dataset.n_items} items, "
            f"{dataset.n_interactions} interactions"
        )
        run.save_dataset(dataset)
        if held_out is not None:
            say(f"  held out of training: {len(held_out.item_ids)} items")
            held_out.save(run.folder / "cold")
        record |= {
            "name": dataset.name,
            "users": dataset.n_users,
            "items": dataset.n_items,
            "interactions": dataset.n_interactions,
            "fingerprint": dataset.fingerprint,
            "side_fingerprint": dataset.side_fingerprint,
            "side_fingerprints": dataset.side_fingerprints,
            "warnings": list(dataset.warnings),
        }
    return dataset


def collaborative_embeddings(run: Run, dataset: Dataset) -> Embeddings | None:
    """CF embeddings h from the training interactions, or given ones (section 4.2.2).

    Given identifiers and titles need none to be trained: those that came with the data, if any,
    then only serve `cf_overlap`.
    """
    settings = run.settings.collaborative
    if run.settings.identifiers.source != "learned" and settings.source == "train":
        return dataset.given_cf
    if not run.is_done("collaborative"):
        with run.stage("collaborative") as record:
            if settings.source == "train":
                keywords = settings.model_dump(exclude={"source", "ids", "order", "training"})
                model = collaborative.train_cf(
                    dataset,
                    **keywords,
                    **settings.training.model_dump(),
                    max_history=run.settings.data.max_history,
                    seed=run.settings.seed,
                    folder=run.checkpoints("collaborative"),
                )
                cf = model.item_embeddings()
                model.save(run.folder / "sasrec.safetensors", dataset.item_ids)
            else:
                cf = collaborative.given_cf(
                    settings.source, dataset, ids=settings.ids, order=settings.order
                )
            record["dim"] = cf.shape[1]
            run.save_embeddings("collaborative", cf, dataset)
    return run.embeddings("collaborative", dataset.n_items)


def content_embeddings(run: Run, dataset: Dataset) -> Embeddings | None:
    """Semantic embeddings s of the items' texts (section 4.2.1); None where there is no text."""
    settings = run.settings.content
    if settings.source == "collaborative" or dataset.texts is None:
        say("  no item text is used: the CF embeddings stand in for content")
        return None
    if not run.is_done("content"):
        with run.stage("content") as record:
            content = embed(dataset.texts, **settings.model_dump(exclude={"source"}))
            record |= {"encoder": settings.encoder, "dim": content.shape[1]}
            run.save_embeddings("content", content, dataset)
    return run.embeddings("content", dataset.n_items)


def item_identifiers(
    run: Run, dataset: Dataset, content: Embeddings | None, cf: Embeddings | None
) -> Identifiers:
    """Train the tokenizer (eq. 1 to 5) and give each item its identifier, or take given ones or
    titles.
    """
    settings = run.settings
    if not run.is_done("identifiers"):
        if settings.identifiers.source == "given":
            assert dataset.given_tokens is not None
            with run.stage("identifiers"):
                identifiers = parse_tokens(dataset.given_tokens)
                before = identifiers.codes
                _keep_identifiers(run, dataset, identifiers, before, cf)
        elif settings.identifiers.source == "titles":
            with run.stage("identifiers"):
                identifiers, before = title_identifiers(dataset.titles, title_tokenizer(settings))
                _keep_identifiers(run, dataset, identifiers, before, cf)
        else:
            assert content is not None
            with run.stage("tokenizer") as record:
                tokenizer = make_tokenizer(settings)
                training = getattr(settings.tokenizer, "training", None)
                tokenizer.fit(
                    content,
                    cf,
                    seed=settings.seed,
                    folder=run.checkpoints("tokenizer"),
                    **(training.model_dump() if training else {}),
                )
                tokenizer.save(run.folder / "tokenizer")
                record["reconstruction_error"] = tokenizer.reconstruction_error(content, cf)
            with run.stage("identifiers"):
                before = tokenizer.quantize(content, cf)
                codes = tokenizer.assign(content, cf=cf)
                identifiers = Identifiers(codes, (settings.tokenizer.codes,) * codes.shape[1])
                _keep_identifiers(run, dataset, identifiers, before, cf)
    return run.identifiers(dataset)


def _keep_identifiers(
    run: Run,
    dataset: Dataset,
    identifiers: Identifiers,
    before: NDArray[np.int32],
    cf: Embeddings | None,
) -> None:
    run.save_identifiers(identifiers, dataset)
    run.write_json("diagnostics", diagnose(identifiers, before=before, cf=cf))


def trained_recommender(
    run: Run, dataset: Dataset, identifiers: Identifiers, content: Embeddings | None
) -> Any:
    """Train the recommender on histories as identifiers, with eq. 6 (section 4.2.5)."""
    settings = run.settings
    recommender = make_recommender(settings, dataset, identifiers, content)
    if not run.is_done("recommender"):
        with run.stage("recommender") as record:
            trie = Trie.build(identifiers, dataset.popularity).to(device())
            cases = validation_cases(settings, dataset)
            log = recommender.fit(
                dataset.training(),
                validate=(lambda: validation_metrics(settings, recommender, trie, cases))
                if len(cases)
                else None,
                folder=run.checkpoints("recommender"),
                seed=settings.seed,
                criterion=settings.evaluation.criterion,
                every=settings.evaluation.every,
                **settings.training.model_dump(),
            )
            record |= {"best_epoch": log.best_epoch, "epochs": len(log.epochs)}
            write_tensors(run.folder / "recommender.safetensors", recommender.state_dict())
    path = run.folder / "recommender.safetensors"
    with reading(path):
        recommender.load_state_dict(read_tensors(path)[0])
    return recommender.eval()


def remembered_transitions(
    run: Run,
    dataset: Dataset,
    identifiers: Identifiers,
    content: Embeddings | None,
    recommender: Any,
) -> Transitions | None:
    """Which item follows which in training, and which are alike; how much either counts is chosen
    on validation.
    """
    settings = run.settings
    if not run.is_done("transitions"):
        with run.stage("transitions") as record:
            if settings.transitions.enabled:
                trie = Trie.build(identifiers, dataset.popularity).to(device())
                cases = validation_cases(settings, dataset)

                def score(transitions: Transitions) -> float:
                    return validation_metrics(settings, recommender, trie, cases, transitions)[
                        settings.evaluation.criterion
                    ]

                counts = Transitions.count(
                    dataset.training(),
                    dataset.n_items,
                    **settings.transitions.model_dump(exclude={"enabled"}),
                )
                likeness = None
                if content is not None and len(content) > 1:
                    likeness = likeness_of(content, trie.items.cpu().numpy())
                transitions = counts.chosen(score, likeness) if len(cases) else counts
                record |= transitions.strength
                say(
                    f"  chosen on validation: seen items {transitions.seen:g}, "
                    f"like items {transitions.like:g}, "
                    f"decay {transitions.decay:g}, weight {transitions.weight:g}"
                )
                run.save_transitions(transitions, dataset)
    return run.transitions(dataset.n_items)


def validation_cases(settings: Settings, dataset: Dataset) -> HeldOut:
    """The validation cases that decide during training."""
    return sample_cases(dataset.held_out("valid"), settings.evaluation.users, settings.seed)


def validation_metrics(
    settings: Settings,
    recommender: Any,
    trie: Trie,
    cases: HeldOut,
    transitions: Transitions | None = None,
) -> dict[str, float]:
    """Metrics of validation cases."""
    lists = recommend_rows(
        recommender,
        trie,
        cases,
        beam=settings.evaluation.beam,
        k=10,
        batch_size=settings.evaluation.batch_size,
        transitions=transitions,
    )
    return summarise(ranks_of(lists, cases.targets))


def evaluation(
    run: Run,
    dataset: Dataset,
    identifiers: Identifiers,
    recommender: Any,
    transitions: Transitions | None,
) -> None:
    """Test and validation metrics by full ranking, popularity beside them (section 5.2)."""
    if run.is_done("evaluation"):
        return
    trie = Trie.build(identifiers, dataset.popularity).to(device())
    beam, size = run.settings.evaluation.beam, run.settings.evaluation.batch_size
    keep_evaluation(
        run,
        dataset,
        lambda split: evaluate_split(
            recommender,
            trie,
            dataset,
            identifiers,
            split=split,
            beam=beam,
            batch_size=size,
            transitions=transitions,
        ),
    )


def keep_evaluation(
    run: Run, dataset: Dataset, rank: Callable[[Split], tuple[dict[str, Any], Ranks]]
) -> None:
    """Keep what ``rank`` gives for both splits (as `evaluate_split`), popularity beside it."""
    with run.stage("evaluation"):
        splits: tuple[Split, ...] = ("valid", "test")
        results: dict[str, Any] = {}
        ranks: dict[str, Ranks] = {}
        for split in splits:
            results[split], ranks[split] = rank(split)
        run.save_ranks(ranks, dataset)
        results["popularity"] = {split: popularity_metrics(dataset, split) for split in splits}
        run.write_json("metrics", results)


def make_tokenizer(settings: Settings) -> Any:
    """The tokenizer that the settings name, untrained."""
    keywords = settings.tokenizer.model_dump(exclude={"name", "training"})
    return TOKENIZERS[settings.tokenizer.name](
        **keywords,
        sinkhorn_epsilon=settings.identifiers.sinkhorn_epsilon,
        sinkhorn_iterations=settings.identifiers.sinkhorn_iterations,
    )


def title_tokenizer(settings: Settings) -> Any:
    """Whose tokens titles are cut into: a language model's own, else the content encoder's."""
    if isinstance(settings.recommender, LcRecSettings):
        return llm.load_tokenizer(settings.recommender.model)
    return encoder_tokenizer(settings.content.encoder)


def make_recommender(
    settings: Settings, dataset: Dataset, identifiers: Identifiers, content: Embeddings | None
) -> Any:
    """The recommender that the settings name, untrained, its weights decided by the seed."""
    kind: Any = RECOMMENDERS[settings.recommender.name]
    keywords = settings.recommender.model_dump(exclude={"name"})
    if getattr(kind, "reads_text", False):
        keywords |= {"titles": dataset.titles, "texts": dataset.texts}
        keywords["preferences"] = dataset.preferences
    set_seed(settings.seed)
    return kind(
        identifiers,
        None if content is None else torch.from_numpy(content),
        max_history=settings.data.max_history,
        **keywords,
    ).to(device())
