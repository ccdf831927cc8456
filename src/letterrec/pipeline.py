"""The whole method, in the paper's order: from interactions to an evaluated recommender.

Each stage takes what the stages before it gave. `Run.stage` keeps its result in the run folder, or
reads it from there where it is done; `stages.identifying` and its neighbours do what settings say.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Literal

from letterrec.config.settings import Settings, is_baseline
from letterrec.data import Dataset, Frames, Sources
from letterrec.decoding.ranker import GenerativeRanker, PersonalRanker, Ranker
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.progress import say
from letterrec.runs.run import Run
from letterrec.stages import identifying, learning, measuring, preference, stages, wishes
from letterrec.stages.beginning import begin
from letterrec.stages.stages import Embeddings
from letterrec.training import distributed
from letterrec.training.devices import device

Until = Literal["identifiers", "evaluation"]


def fit(
    source: str | Dataset | Frames | Sources,
    folder: Path,
    settings: Settings,
    *,
    resume: bool = False,
    reuse: Iterable[Path] = (),
    until: Until = "evaluation",
) -> Run:
    """Make a recommender from a data source and keep it, with all that led to it, in a folder.

    Processes that have met (`distributed.join`) all call this; they share the recommender's
    training and ranking. The arguments are those of `letterrec.fit`.
    """
    with distributed.main_first():
        run, dataset = begin(source, folder, settings, resume=resume, reuse=reuse)
    return go_on(run, dataset, until)


def go_on(run: Run, dataset: Dataset, until: Until = "evaluation") -> Run:
    """Do the stages that a run lacks, now that its data are read."""
    settings, beam = run.settings, run.settings.evaluation.beam
    if is_baseline(settings):
        return fit_baseline(run, dataset) if until == "evaluation" else run
    with distributed.main_first():
        content = content_embeddings(run, dataset)
        cf = collaborative_embeddings(run, dataset)
        identifiers = item_identifiers(run, dataset, content, cf)
    if until == "identifiers":
        return run
    with distributed.together():
        trie = Trie.build(identifiers, dataset.popularity).to(device())
        recommender = learning.make_recommender(settings, dataset, identifiers, content, trie)
        ranker = GenerativeRanker(recommender, trie, beam=beam)
        train_recommender(run, dataset, recommender, ranker)
        preference.learn(run, dataset, recommender, ranker)
        transitions = item_transitions(run, dataset, content, ranker)
        final = recommender.ranker(trie, dataset.popularity, transitions=transitions, beam=beam)
        wishes.teach(run, dataset, content, recommender, final)
        evaluate(run, dataset, final, identifiers if recommender.searches else None)
    return run


def fit_baseline(run: Run, dataset: Dataset) -> Run:
    """Train a classical system of the paper's Table 1, and measure it as any other."""
    with distributed.together():
        baseline = learning.make_baseline(run.settings, dataset)
        ranker = PersonalRanker(baseline, device(), dataset.target_behaviours)
        train_recommender(run, dataset, baseline, ranker)
        evaluate(run, dataset, ranker)
    return run


def content_embeddings(run: Run, dataset: Dataset) -> Embeddings | None:
    """Semantic embeddings s of the items' texts (section 4.2.1); None where there is no text."""
    chosen = run.settings.content
    if chosen.source == "collaborative" or (dataset.texts is None and not chosen.is_file):
        stand_in = identifying.tokenizer_reads(run.settings, "content")
        say(f"  no item text is used{': CF embeddings stand in for content' if stand_in else ''}")
        return None
    return run.stage(stages.CONTENT, dataset, partial(identifying.content_of, run, dataset))


def collaborative_embeddings(run: Run, dataset: Dataset) -> Embeddings | None:
    """CF embeddings h of the training interactions, or given ones (section 4.2.2).

    None are trained where no tokenizer reads them; those of the data then only serve `cf_overlap`.
    """
    is_trained = run.settings.collaborative.source == "train"
    if is_trained and not identifying.tokenizer_reads(run.settings, "cf"):
        return dataset.given_cf
    make = identifying.trained_cf if is_trained else identifying.given_cf
    return run.stage(stages.COLLABORATIVE, dataset, partial(make, run, dataset))


def item_identifiers(
    run: Run, dataset: Dataset, content: Embeddings | None, cf: Embeddings | None
) -> Identifiers:
    """One identifier per item: learned (eq. 1 to 5), given, or made of titles."""
    source = run.settings.identifiers.source
    if source == "given":
        make = partial(identifying.given_identifiers, dataset, cf)
    elif source == "titles":
        make = partial(identifying.title_identifiers, run, dataset, cf)
    else:
        items = identifying.items_of(run.settings, dataset, content, cf)
        fit_tokenizer = partial(identifying.fit_tokenizer, run, items)
        tokenizer = run.stage(stages.TOKENIZER, dataset, fit_tokenizer)
        make = partial(identifying.learned_identifiers, tokenizer, items)
    return run.stage(stages.IDENTIFIERS, dataset, make)


def train_recommender(run: Run, dataset: Dataset, model: learning.Model, ranker: Ranker) -> None:
    """Train the recommender by eq. 6 (section 4.2.5); its weights are those that validate best."""
    make = partial(learning.train_recommender, run, dataset, model, ranker)
    run.stage(stages.RECOMMENDER, dataset, make)
    learning.load_weights(run, model)


def item_transitions(
    run: Run, dataset: Dataset, content: Embeddings | None, ranker: GenerativeRanker
) -> Transitions | None:
    """Which item follows which in training, and which are similar; validation weighs them."""
    make = partial(learning.fit_transitions, run, dataset, content, ranker)
    return run.stage(stages.TRANSITIONS, dataset, make)


def evaluate(
    run: Run, dataset: Dataset, ranker: Ranker, identifiers: Identifiers | None = None
) -> None:
    """Test and validation metrics by full ranking, popularity beside them (section 5.2)."""
    make = partial(measuring.measure, run, dataset, ranker, identifiers)
    run.stage(stages.EVALUATION, dataset, make)
