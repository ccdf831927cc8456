"""Final training: a run whose recommender has learned all interactions, the held-out ones too.

A fit holds the latest interactions back, to choose by them how long to train and how strong
transitions are. What goes into service is then trained on everything, as long and as strong as was
chosen. Identifiers, tokenizer and embeddings stay; items of a newer log that are not known get
identifiers from their texts, as items that are added to a catalogue do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterrec.config.settings import is_baseline
from letterrec.data.dataset import Dataset
from letterrec.data.splits import Cut
from letterrec.data.temporal import TEMPORAL
from letterrec.decoding.ranker import GenerativeRanker
from letterrec.decoding.trie import Trie
from letterrec.errors import DataError, RunError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.progress import say
from letterrec.runs.records import Refitted
from letterrec.runs.reuse import take_stage
from letterrec.runs.run import Run
from letterrec.stages import identifying, learning, preference, stages, wishes
from letterrec.stages.stages import Embeddings, MadeCf, MadeIdentifiers
from letterrec.tokenizers import Items
from letterrec.tokenizers.new_items import assign_new, estimate_cf
from letterrec.training import distributed
from letterrec.training.devices import device

StartingWeights = Literal["nothing", "run"]  # where training starts
_SHARE_ON = 1 / 3  # of the epochs from nothing, where training goes on from trained weights


@dataclass(frozen=True, eq=False)
class Known:
    """The items that a run has identifiers for: those trained on, then those added since.

    Attributes:
        item_ids: external ids.
        identifiers: of all of them.
        content: float32 ``(n, d_content)``; None where the run has none.
        n_trained: how many of them were trained on: the first.
    """

    item_ids: tuple[str, ...]
    identifiers: Identifiers
    content: Embeddings | None
    n_trained: int

    def rows(self, dataset: Dataset) -> NDArray[np.int64]:
        """int64 ``(n_items,)``: where each item of a data set is here; -1 for one that is new."""
        row_of = {item: row for row, item in enumerate(self.item_ids)}
        return np.array([row_of.get(item, -1) for item in dataset.item_ids], dtype=np.int64)


def everything(dataset: Dataset) -> Dataset:
    """The same data with nothing held out.

    Raises:
        DataError: no user has two interactions.
    """
    lengths = dataset.interactions.lengths
    if lengths.max(initial=0) < 2:
        raise DataError(
            f"{dataset.name}: no user has two interactions, so there is nothing to learn from"
        )
    notes = tuple(note for note in dataset.warnings if not note.startswith(TEMPORAL))
    return replace(dataset, cut=Cut.nothing(lengths), times=None, warnings=notes)


def epochs_chosen(run: Run, stage: str = "recommender") -> int:
    """How many epochs validation chose for a stage of a run; 0 where what it learns is computed at
    once.
    """
    run.require(stage)
    return run.about["stages"][stage].get("best_epoch", -1) + 1


def refit(
    run: Run,
    refitted: Run,
    dataset: Dataset,
    known: Known,
    *,
    weights: StartingWeights,
    epochs: int | None,
) -> None:
    """Train the recommender of a run on all of a data set, into another run.

    Args:
        run: finished; it chose epochs and strengths.
        refitted: has read the data.
        dataset: from `everything`.
        known: the items of ``run``.
        weights: where training starts; a baseline starts from nothing.
        epochs: how long; None: as long as was chosen, from nothing by the same schedule, and from
            the run's weights a third of it.
    """
    chosen = epochs_chosen(run)
    if is_baseline(run.settings):
        weights = "nothing"
    elif weights == "run" and epochs is None:
        epochs = math.ceil(_SHARE_ON * chosen)
    refitted.note_refitted(Refitted(run=str(run.folder), epochs=epochs or chosen, weights=weights))
    stop = chosen if epochs is None and chosen else None
    learn = partial(learning.learn_all, refitted, dataset, stop=stop, epochs=epochs)
    if is_baseline(run.settings):
        with distributed.together():
            baseline = learning.make_baseline(run.settings, dataset)
            refitted.stage(stages.RECOMMENDER, dataset, partial(learn, baseline))
        return
    rows = known.rows(dataset)
    with distributed.main_first():
        content, identifiers = _grown_catalogue(run, refitted, dataset, known, rows)
    with distributed.together():
        trie = Trie.build(identifiers, dataset.popularity).to(device())
        recommender = learning.make_recommender(run.settings, dataset, identifiers, content, trie)
        if weights == "run":
            recommender.start_from(run.weights(), np.where(rows < known.n_trained, rows, -1))
        refitted.stage(stages.RECOMMENDER, dataset, partial(learn, recommender))
        if run.settings.preference.enabled:
            learning.load_weights(refitted, recommender)
            ranker = GenerativeRanker(recommender, trie, beam=run.settings.evaluation.beam)
            chosen = epochs_chosen(run, "preference")
            prefer = partial(preference.relearned, refitted, dataset, recommender, ranker, chosen)
            refitted.stage(stages.PREFERENCE, dataset, prefer)
        remember = partial(
            learning.relearned_transitions,
            refitted,
            dataset,
            content,
            run.transitions(known.n_trained) if run.is_done("transitions") else None,
        )
        refitted.stage(stages.TRANSITIONS, dataset, remember)
        if recommender.wishes is not None:
            learning.load_weights(refitted, recommender)
            refitted.stage(
                stages.WISHES,
                dataset,
                partial(
                    wishes.relearned,
                    refitted,
                    dataset,
                    recommender,
                    run.wishes(),
                    epochs_chosen(run, "wishes"),
                ),
            )


def _grown_catalogue(
    run: Run, refitted: Run, dataset: Dataset, known: Known, rows: NDArray[np.int64]
) -> tuple[Embeddings | None, Identifiers]:
    """Content embeddings and identifiers: of known items those that they have, of new ones made."""
    is_new = rows < 0
    gone = len(known.item_ids) - int((~is_new).sum())
    say(f"  items: {int((~is_new).sum())} known, {int(is_new.sum())} new, {gone} not in the data")
    content = None if known.content is None else known.content[rows]
    codes = known.identifiers.codes[rows]
    trained = known.n_trained
    cf = run.embeddings("collaborative", trained)
    if is_new.any():
        readable = dataset.texts is not None or run.settings.content.is_file
        has_content = content is not None and known.content is not None and readable
        if not has_content or not run.is_done("tokenizer"):
            first = dataset.item_ids[int(np.flatnonzero(is_new)[0])]
            raise RunError(
                f"{int(is_new.sum())} items of {dataset.name} are not known to {run.folder} (such "
                f"as {first!r}), and it cannot make identifiers for them: it needs item texts and "
                "a tokenizer of its own; fit a new run"
            )
        assert content is not None
        assert known.content is not None
        content[is_new] = identifying.content_of(run, dataset, np.flatnonzero(is_new), quiet=True)
        fitted = Items(known.content[:trained], cf)
        codes[is_new] = assign_new(
            run.tokenizer(), fitted, content[is_new], known.identifiers.codes
        )
    if content is not None:
        kept = content
        refitted.stage(stages.CONTENT, dataset, lambda: kept)
    if cf is not None:
        late = is_new | (rows >= trained)
        grown = cf[np.where(late, 0, rows)]
        if late.any() and content is not None and known.content is not None:
            grown[late] = estimate_cf(known.content[:trained], cf, content[late])
        cf = grown
        refitted.stage(stages.COLLABORATIVE, dataset, lambda: MadeCf(grown))
    if run.is_done("tokenizer"):
        take_stage(refitted, run, "tokenizer")
    identifiers = replace(known.identifiers, codes=codes)
    resolved = MadeIdentifiers(identifiers, codes, cf)
    return content, refitted.stage(stages.IDENTIFIERS, dataset, lambda: resolved)
