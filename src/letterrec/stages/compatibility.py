"""What is checked before anything is trained: whether settings and data go together."""

from __future__ import annotations

from collections.abc import Callable

from letterrec.baselines import BASELINES
from letterrec.config.settings import Settings
from letterrec.data import Dataset
from letterrec.embeddings import collaborative
from letterrec.embeddings.content import given_content
from letterrec.errors import DataError, IdentifierError, SettingsError
from letterrec.progress import say
from letterrec.recommenders import RECOMMENDERS, Features
from letterrec.recommenders.wishes.wording import described
from letterrec.runs import tracking
from letterrec.tokenizers import TOKENIZERS

_TIGHT = 4  # identifiers per item, below which a code space is


def refuse_impossible(
    settings: Settings, dataset: Dataset, done: Callable[[str], bool] = lambda stage: False
) -> None:
    """Say at once, not after an hour of training, that settings and data do not go together.

    Args:
        settings: of the run.
        dataset: of the run.
        done: whether a stage of the run is done, so that a file that it came from is not needed.

    Raises:
        LetterRecError: they do not, in one line.
    """
    tracking.check(settings.tracker)
    _refuse_too_little(dataset)
    if settings.recommender.name in BASELINES:
        _refuse_for_baseline(settings, dataset)
        return
    if settings.identifiers.source == "given":
        if dataset.domains is not None:
            raise IdentifierError(
                "identifiers.source = 'given', but those of several sources are of as many code "
                "spaces; use identifiers.source=learned"
            )
        if dataset.given_tokens is None:
            raise IdentifierError(
                f"identifiers.source = 'given', but {dataset.name} brings no index.json; "
                "use identifiers.source=learned"
            )
    elif settings.identifiers.source == "titles":
        if dataset.texts is None:
            raise IdentifierError(
                f"identifiers.source = 'titles', but the items of {dataset.name} have no titles; "
                "add an items file, or use identifiers.source=learned"
            )
    else:
        _refuse_tokenizer(settings, dataset)
    if settings.content.source == "text" and dataset.texts is None:
        raise SettingsError(
            f"content.source = 'text', but {dataset.name} has no item text; "
            "add an items file, or use content.source=auto"
        )
    if settings.content.is_file and not done("content"):
        vectors = settings.content
        given_content(vectors.source, dataset, ids=vectors.ids, order=vectors.order, quiet=True)
    if settings.collaborative.source != "train" and not done("collaborative"):
        dim = settings.tokenizer.cf_dim if settings.identifiers.source == "learned" else None
        given = settings.collaborative
        collaborative.given_cf(
            given.source, dataset, ids=given.ids, order=given.order, dim=dim, quiet=True
        )
    if (
        settings.preference.enabled
        and not RECOMMENDERS[settings.recommender.name].learns_preferences
    ):
        raise SettingsError(
            f"preference.enabled: recommender {settings.recommender.name!r} does not learn "
            "preferences; use recommender.name=rqt"
        )
    if settings.wishes.enabled:
        _refuse_wishes(settings, dataset)
    features = Features(None, dataset.titles, dataset.texts, dataset.preferences)
    recommender = settings.recommender
    RECOMMENDERS[recommender.name].check(features, recommender.model_dump())


def _refuse_wishes(settings: Settings, dataset: Dataset) -> None:
    """Refuse wishes that cannot be taught."""
    if not RECOMMENDERS[settings.recommender.name].learns_wishes:
        raise SettingsError(
            f"wishes.enabled: recommender {settings.recommender.name!r} is not taught wishes this "
            "way; use recommender.name=rqt, or lcrec with recommender.tasks.query=1"
        )
    if dataset.texts is None or settings.content.source == "collaborative":
        raise DataError(
            f"wishes.enabled: wishes are matched with the texts of items, and those of "
            f"{dataset.name} have none that is read; add an items file and use content.source=auto"
        )
    if settings.content.is_file:
        raise SettingsError(
            f"wishes.enabled: content.source = {settings.content.source!r} holds vectors that no "
            "words can be compared with; use content.source=auto, which embeds the items' texts"
        )
    items = described(dataset.titles, dataset.texts, dataset.categories)
    if not any(item.categories or item.further or len(item.title) > 1 for item in items):
        raise DataError(
            f"wishes.enabled: wishes are made of the items' words, and those of "
            f"{dataset.name} have none beside titles of one word; add categories or texts"
        )


def _refuse_tokenizer(settings: Settings, dataset: Dataset) -> None:
    """Refuse data that lack what the tokenizer reads, or have more items than it can tell apart."""
    tokenizer = settings.tokenizer
    if "categories" in TOKENIZERS[tokenizer.name].reads and dataset.categories is None:
        raise DataError(
            f"tokenizer.name = {tokenizer.name!r} makes identifiers of categories, and the items "
            f"of {dataset.name} have none; add an items file with a column 'categories', or take "
            "another tokenizer"
        )
    space = tokenizer.code_space(dataset.n_items)
    if space is None:
        return
    if space.capacity < dataset.n_items:
        raise IdentifierError(
            f"{dataset.n_items} items do not fit a code space of {space.capacity} identifiers; "
            "raise tokenizer.codes or tokenizer.levels"
        )
    if space.capacity < _TIGHT * dataset.n_items:
        say(
            f"  note: {dataset.n_items} items in a code space of {space.capacity} identifiers "
            f"({space.levels} levels of {space.codes} codes): it is tight, and many items will get "
            "codes far from their own; raise tokenizer.codes or tokenizer.levels"
        )


def _refuse_for_baseline(settings: Settings, dataset: Dataset) -> None:
    """Refuse what a baseline cannot do."""
    name = settings.recommender.name
    if settings.transitions.enabled:
        raise SettingsError(
            f"transitions are mixed into the probabilities of identifiers, and {name!r} has none: "
            "set transitions.enabled=false"
        )
    if settings.wishes.enabled or settings.preference.enabled:
        section = "wishes" if settings.wishes.enabled else "preference"
        raise SettingsError(
            f"{section}.enabled: the baseline {name!r} learns none; set {section}.enabled=false, "
            "or use recommender.name=rqt"
        )
    BASELINES[name].check(dataset.n_items)
    say(f"  {name} scores items as they are: no embeddings and no identifiers are made")


def _refuse_too_little(dataset: Dataset) -> None:
    """Refuse data that no network can learn from."""
    if dataset.n_items < 2:
        raise DataError(
            f"{dataset.name} has {dataset.n_items} item; a recommender needs at least 2 to choose "
            "from: use more data, or lower data.k_core where that left items out"
        )
    if dataset.training().lengths.max(initial=0) < 2:
        raise DataError(
            f"{dataset.name}: no user has two training interactions (by leave-one-out two are held "
            "out of three and more), so there is nothing to learn from; use a log with longer "
            "histories"
        )
    if not len(dataset.held_out("test")):
        say("  note: no user has three interactions, so none is held out: nothing is evaluated")
