"""Every setting of a run: its type, default and meaning. Frozen, and written as TOML.

Those of embeddings, of a tokenizer and of a recommender are in `embeddings`, `tokenizers`,
`recommenders` and `baselines`. `loading` makes them from a recipe and what is changed of it. The
paper's settings (section 5.4) are the recipe ``paper-letter-tiger``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Literal, Self

import tomli_w
from pydantic import Field, field_validator, model_validator

from letterrec.config.baselines import BaselineSettings
from letterrec.config.embeddings import CollaborativeSettings, ContentSettings
from letterrec.config.keywords import Order, Reading, Role, TransitionLearning
from letterrec.config.recommenders import RecommenderSettings, RqtSettings
from letterrec.config.section import Section, TrainingSettings
from letterrec.config.tokenizers import LetterSettings, TokenizerSettings
from letterrec.errors import SettingsError

TrackerName = Literal["tensorboard", "mlflow", "wandb", "none"]
SplitKind = Literal["leave-one-out", "temporal"]


class DataSettings(Section):
    """What is read, and how much of it."""

    k_core: int | None = Field(
        None,
        ge=0,
        description="drop users and items with fewer interactions, repeatedly; unset: 5 for "
        "interaction logs, none for LETTER's already prepared folders",
    )
    min_rating: float | None = Field(
        None,
        allow_inf_nan=False,
        description="drop interactions with a lower rating, or none, before anything else",
    )
    grades: dict[str, float] = Field(
        {},
        description="cuts ratings into behaviours: the name of each grade and its lowest rating, "
        "as in grades.disliked = 0, grades.liked = 4; ratings below all of them are dropped",
    )
    targets: tuple[str, ...] = Field(
        (),
        description="behaviours that are to be predicted and evaluated, such as ['buy'], the "
        "others being context; unset: all",
    )
    order: Order = Field(
        "time", description="'rows': the rows of the log are in the order of time already"
    )
    columns: dict[Role, str] = Field(
        {}, description="what the columns of the source are called, as in columns.user = 'userId'"
    )
    split: SplitKind = Field(
        "leave-one-out",
        description="what is held out: of each user the latest interaction and the one before it, "
        "or, 'temporal', what comes after one time for all",
    )
    test_from: str = Field(
        "0.1",
        description="temporal: where the test begins: a date or time (2024-03-01), or a share of "
        "the interactions, the latest",
    )
    valid_from: str | None = Field(
        None,
        description="temporal: where validation begins, in the same forms; unset: so that it has "
        "as many interactions as the test",
    )
    join_users: bool = Field(
        False,
        description="of several sources: users whose ids agree are one person, with one history of "
        "all domains; off: every source has users of its own",
    )
    max_history: int = Field(20, ge=1, description="latest items of a history that are used")
    cold_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of the items held out of training, to measure how new items do "
        "(evaluate --cold)",
    )

    @field_validator("test_from", "valid_from", mode="before")
    @classmethod
    def _any_time(cls, value: object) -> str | None:
        """A number or a date of TOML as the text that it was."""
        return None if value is None else str(value)

    def reading(self) -> Reading:
        """These settings as keyword arguments of `letterrec.read`."""
        return {
            "k_core": self.k_core,
            "min_rating": self.min_rating,
            "grades": dict(self.grades),
            "order": self.order,
            "columns": {str(role): column for role, column in self.columns.items()},
        }


class IdentifierSettings(Section):
    """Codes -> one identifier per item."""

    source: Literal["learned", "given", "titles"] = Field(
        "learned",
        description="'learned': by the tokenizer; 'given': identifiers that came with the data, "
        "as they are; 'titles': the tokens of the items' titles",
    )


class TransitionSettings(Section):
    """Which items are predicted next from which, learned by a ridge regression and mixed into the
    recommender's probabilities; how much it counts is chosen on the validation split.
    """

    enabled: bool = Field(True, description="off: the recommender alone, as in the paper")
    window: int = Field(20, ge=2, description="items so many places apart do not count together")
    backwards: float = Field(
        0.5, ge=0, description="weight of what came before, relative to what came after"
    )
    ridge: float = Field(
        100.0, gt=0, description="how often an item is used until half of what it says counts"
    )
    neighbours: int = Field(
        200, ge=1, description="items that predict an item, in catalogues of more than 4,096"
    )

    def learning(self) -> TransitionLearning:
        """These settings as keyword arguments of `linear.transition_fitting.learn_transitions`."""
        return {
            "window": self.window,
            "backwards": self.backwards,
            "ridge": self.ridge,
            "neighbours": self.neighbours,
        }


class WishSettings(Section):
    """Wishes in words ("something for sensitive skin"), which a trained `rqt` is taught to follow
    beside histories or alone; without a wish it ranks as if it had not been.
    """

    enabled: bool = Field(False, description="teach the recommender to follow wishes")
    per_item: int = Field(
        6, ge=1, description="wishes that are made up of an item's words, to learn from"
    )
    training: TrainingSettings = TrainingSettings(epochs=8, learning_rate=1e-3, patience=3)


class PreferenceSettings(Section):
    """Post-training of a trained `rqt` by preference optimisation (DPO): after histories of
    training, what was chosen next is preferred to the items that its own beams offered instead.
    """

    enabled: bool = Field(False, description="train on preferences once the recommender is trained")
    users: int = Field(
        50_000, ge=1, description="users of whose history one place each is learned, at most"
    )
    rejected: int = Field(
        10, ge=1, le=100, description="items of a beam that what was chosen is preferred to"
    )
    beta: float = Field(
        0.1,
        gt=0,
        description="how far a preference is to be learned: low ones move the probabilities far "
        "away from those before",
    )
    likelihood: float = Field(
        1.0,
        ge=0,
        description="weight of the chosen items' own log-probability in the loss, beside what they "
        "gain on the others",
    )
    training: TrainingSettings = TrainingSettings(epochs=4, learning_rate=5e-5, patience=2)


LARGEST_CUT = 1000  # beams of a wider search do not fit the memory
MetricName = Literal["recall", "ndcg", "mrr", "hit_rate"]


class EvaluationSettings(Section):
    """Full ranking by beam search."""

    beam: int = Field(20, ge=1, description="prefixes kept per level by beam search")
    batch_size: int = Field(256, ge=1, description="histories ranked at a time")
    criterion: Literal["ndcg@10", "recall@10"] = Field(
        "ndcg@10", description="what selects the weights, on the validation split"
    )
    every: int = Field(1, ge=1, description="epochs between validations")
    users: int = Field(5000, ge=1, description="validation users during training, at most")
    cuts: tuple[int, ...] = Field(
        (5, 10),
        description="k of Recall@k and the others, beside 5 and 10; one above the beam widens it",
    )
    metrics: tuple[MetricName, ...] = Field(
        ("recall", "ndcg"),
        description="what is measured beside Recall and NDCG; with one held-out item a user, the "
        "hit rate is Recall",
    )
    test_users: int | None = Field(
        None,
        ge=1,
        description="users measured at the end, at most: a sample, the same in every run of the "
        "same data; unset: all, or 20,000 where there are more than 100,000",
    )

    @model_validator(mode="after")
    def _cuts_are_places(self) -> Self:
        if any(not 1 <= k <= LARGEST_CUT for k in self.cuts):
            raise ValueError(f"cuts = {list(self.cuts)}: expected numbers from 1 to {LARGEST_CUT}")
        return self


class Settings(Section):
    """Everything that decides a run."""

    seed: int = Field(
        0, ge=0, description="decides initial weights, order of batches, dropout and samples"
    )
    data: DataSettings = DataSettings()
    content: ContentSettings = ContentSettings()
    collaborative: CollaborativeSettings = CollaborativeSettings()
    tokenizer: TokenizerSettings = LetterSettings()
    identifiers: IdentifierSettings = IdentifierSettings()
    recommender: RecommenderSettings = RqtSettings()
    training: TrainingSettings = TrainingSettings()
    preference: PreferenceSettings = PreferenceSettings()
    transitions: TransitionSettings = TransitionSettings()
    wishes: WishSettings = WishSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tracker: TrackerName = Field(
        "tensorboard",
        description="who is told how training goes: 'tensorboard' (events in the run folder), "
        "'mlflow', 'wandb' (Weights & Biases), each with an extra of its name, or 'none'",
    )

    @model_validator(mode="after")
    def _ids_have_vectors(self) -> Self:
        cf = self.collaborative
        if cf.source in ("train", "given") and (cf.ids is not None or cf.order == "rows"):
            raise ValueError(
                f"collaborative.ids and collaborative.order are of a file of vectors; "
                f"collaborative.source = {cf.source!r} is none"
            )
        return self

    @model_validator(mode="after")
    def _cold_items_have_texts(self) -> Self:
        if self.content.is_file and self.data.cold_share > 0:
            raise ValueError(
                "data.cold_share adds held-out items by their texts, and content.source = "
                f"{self.content.source!r} is a file of vectors: set data.cold_share = 0"
            )
        return self

    @model_validator(mode="after")
    def _dims_agree(self) -> Self:
        wanted, there = self.tokenizer.cf_dim, self.collaborative.dim
        if self.collaborative.source == "train" and wanted not in (None, there):
            raise ValueError(
                f"tokenizer.dim = {wanted} but collaborative.dim = {there}: eq. 3 compares the "
                "two, so they must be equal (or tokenizer.alpha = 0)"
            )
        return self

    @model_validator(mode="after")
    def _grounding_has_titles(self) -> Self:
        if not self.recommender.grounds:
            return self
        if self.identifiers.source != "titles":
            raise ValueError(
                "recommender.grounding compares titles: set identifiers.source = 'titles'"
            )
        if self.transitions.enabled:
            raise ValueError(
                "recommender.grounding gives distances, and transitions are mixed into "
                "probabilities: set transitions.enabled = false"
            )
        return self

    def __repr__(self) -> str:
        plain = dotted(Settings().model_dump())
        there = dotted(self.model_dump())
        changed = [f"{k}={v!r}" for k, v in there.items() if plain.get(k) != v]
        more = f", and {len(changed) - 6} more" if len(changed) > 6 else ""
        return f"Settings({', '.join(changed[:6])}{more})"

    __str__ = __repr__

    def to_toml(self) -> str:
        """All settings as TOML; settings that are unset are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def is_baseline(settings: Settings) -> bool:
    """Whether the settings name a baseline, which needs neither identifiers nor embeddings."""
    return isinstance(settings.recommender, BaselineSettings)


def leaves(table: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The keys of every value in nested tables, and the value."""
    for key, value in table.items():
        if not isinstance(key, str):
            raise SettingsError(f"setting {key!r}: expected a name, as in 'training.epochs'")
        if isinstance(value, Mapping):
            yield from (((key, *keys), leaf) for keys, leaf in leaves(value))
        else:
            yield (key,), fspath(value) if isinstance(value, PathLike) else value


def dotted(table: Mapping[str, object]) -> dict[str, object]:
    """Nested tables as one: ``section.key`` -> value."""
    return {".".join(keys): value for keys, value in leaves(table)}
