"""What a run's settings make of its items: embeddings, a tokenizer, identifiers.

Here, in `learning` and in `measuring` settings end: what they say of a stage becomes the call that
does it, and reaches classes as flat keywords.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.config.settings import Settings
from letterrec.data.dataset import Dataset
from letterrec.decoding.ranker import EventRanker
from letterrec.embeddings import collaborative
from letterrec.embeddings.content import embed, given_content
from letterrec.embeddings.cooccurrence import cooccurrence
from letterrec.embeddings.encoders import encoder_tokenizer
from letterrec.evaluation.protocol import Validation
from letterrec.identifiers import titles
from letterrec.identifiers.identifiers import Identifiers, parse_tokens
from letterrec.nn.sasrec import SASRec
from letterrec.recommenders import RECOMMENDERS
from letterrec.runs.run import Run
from letterrec.stages.learning import options_of
from letterrec.stages.stages import Embeddings, MadeCf, MadeIdentifiers, MadeTokenizer
from letterrec.tokenizers import TOKENIZERS, Items, Tokenizer
from letterrec.tokenizers.assignment import assign
from letterrec.tokenizers.base import InputName
from letterrec.training.devices import device


def content_of(
    run: Run, dataset: Dataset, rows: NDArray[np.int64] | None = None, *, quiet: bool = False
) -> Embeddings:
    """Content embeddings float32 ``(n_items, d_content)``: of the items' texts, or vectors of a
    file.

    Args:
        run: whose settings say which.
        dataset: its items have texts, where no file has vectors.
        rows: of these items alone.
        quiet: do not report vectors of a file that are left out.
    """
    settings = run.settings.content
    if settings.is_file:
        found = given_content(
            settings.source, dataset, ids=settings.ids, order=settings.order, quiet=quiet
        )
        return found if rows is None else found[rows]
    texts = dataset.texts
    assert texts is not None
    return embed(texts if rows is None else [texts[i] for i in rows], **settings.encoding())


def trained_cf(run: Run, dataset: Dataset) -> MadeCf:
    """CF embeddings of a SASRec that is trained here."""
    settings = run.settings.collaborative
    cases = Validation(dataset, seed=run.settings.seed)

    def validate(model: SASRec) -> dict[str, float]:
        return cases.metrics(EventRanker(model, device(), n_behaviours=dataset.n_behaviours))

    model = collaborative.train_cf(
        dataset,
        options_of(run, "collaborative", settings.training),
        dim=settings.dim,
        layers=settings.layers,
        heads=settings.heads,
        dropout=settings.dropout,
        norm_first=settings.norm_first,
        max_history=run.settings.data.max_history,
        validate=validate if cases else None,
    )
    return MadeCf(model.item_embeddings(), model)


def given_cf(run: Run, dataset: Dataset) -> MadeCf:
    """CF embeddings from a file, or those that came with the data."""
    settings = run.settings.collaborative
    source, ids, order = settings.source, settings.ids, settings.order
    return MadeCf(collaborative.given_cf(source, dataset, ids=ids, order=order))


def tokenizer_reads(settings: Settings, part: InputName) -> bool:
    """Whether there is a tokenizer to be fitted that reads a part of what the items bring."""
    is_learned = settings.identifiers.source == "learned"
    return is_learned and part in TOKENIZERS[settings.tokenizer.name].reads


def items_of(
    settings: Settings, dataset: Dataset, content: Embeddings | None, cf: Embeddings | None
) -> Items:
    """What the catalogue brings to the tokenizer; CF embeddings stand in for missing content."""
    semantic = cf if content is None else content
    if semantic is None:
        semantic = np.zeros((dataset.n_items, 0), dtype=np.float32)
    graph = None
    if tokenizer_reads(settings, "cooccurrence"):
        targets = dataset.training().only(dataset.target_behaviours)
        graph = cooccurrence(targets, dataset.n_items)
    return Items(semantic, cf, dataset.categories, graph)


def fit_tokenizer(run: Run, items: Items) -> MadeTokenizer:
    """The tokenizer that the settings name, fitted (eq. 1 to 5)."""
    settings = run.settings
    space = settings.tokenizer.code_space(len(items.content))
    given = settings.tokenizer.model_dump(exclude={"name", "training"})
    if space is not None:
        given |= space._asdict()
    tokenizer = TOKENIZERS[settings.tokenizer.name](**given)
    tokenizer.fit(items, options_of(run, "tokenizer", settings.tokenizer.training))
    return MadeTokenizer(tokenizer, tokenizer.reconstruction_error(items))


def learned_identifiers(tokenizer: Tokenizer, items: Items) -> MadeIdentifiers:
    """The identifiers that a fitted tokenizer gives."""
    codes = assign(tokenizer, items)
    identifiers = Identifiers(codes, tokenizer.sizes)
    return MadeIdentifiers(identifiers, tokenizer.quantize(items), items.cf)


def given_identifiers(dataset: Dataset, cf: Embeddings | None) -> MadeIdentifiers:
    """The identifiers that came with the data, as they are."""
    assert dataset.given_tokens is not None
    identifiers = parse_tokens(dataset.given_tokens)
    return MadeIdentifiers(identifiers, identifiers.codes, cf)


def title_identifiers(run: Run, dataset: Dataset, cf: Embeddings | None) -> MadeIdentifiers:
    """Titles as identifiers, in the tokens of the recommender or else of the content encoder."""
    settings = run.settings
    kind = RECOMMENDERS[settings.recommender.name]
    tokenizer = kind.text_tokenizer(settings.recommender.model_dump())
    if tokenizer is None:
        tokenizer = encoder_tokenizer(settings.content.encoder)
    return MadeIdentifiers(*titles.title_identifiers(dataset.titles, tokenizer), cf)
