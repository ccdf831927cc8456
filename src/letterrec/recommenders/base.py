"""The seam of generative recommenders: from what one is built, how it learns, what search needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.data.sequences import Histories
from letterrec.decoding.beam_search import Decoder
from letterrec.decoding.ranker import GenerativeRanker, Ranker
from letterrec.decoding.trie import Trie
from letterrec.embeddings.query_encoder import QueryEncoder
from letterrec.errors import DataError, IdentifierError, RequestError, SettingsError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.recommenders.preferences import Preferences
from letterrec.recommenders.wishes.following import Wishes
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class Features:
    """What a recommender may read besides identifiers; None where the data lack it.

    Attributes:
        content: float32 ``(n_items, d_content)`` content embeddings.
        titles: one per item.
        texts: one per item, title first.
        preferences: one per user, what the user likes, in words.
        behaviours: what the kinds of interactions are called; empty where there is one kind.
        targets: rows of the behaviours that are to be predicted; empty: all.
    """

    content: Tensor | None = None
    titles: Sequence[str] | None = None
    texts: Sequence[str] | None = None
    preferences: Sequence[str] | None = None
    behaviours: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()

    @property
    def n_behaviours(self) -> int:
        """Number of kinds of interactions, at least 1."""
        return max(1, len(self.behaviours))


class Recommender(nn.Module, ABC):
    """Reads histories of items and spells the next item's identifier, code by code.

    A recommender is a subclass, an entry in `RECOMMENDERS`, and its settings, a class in
    `config/recommenders.py` that is named in `RecommenderSettings` there;
    `tests/contract_recommender.py` says what it must do. ``state_dict`` holds all that training
    decides.

    Attributes:
        max_history: how many of the latest items of a history are read.
        n_behaviours: kinds of interactions that it tells apart. Of more than one, the histories
            that `encode` takes are of events (`Histories.events`).
        learns_preferences: whether it can be trained on what its own beams get wrong; see
            `fit_preferences`.
        learns_wishes: whether it can be taught to follow wishes once it is trained; see
            `read_wishes` and `fit_wishes`.
        wishes: what it follows wishes by, where it was made to read any.
    """

    max_history: int
    n_behaviours: int = 1
    learns_preferences: ClassVar[bool] = False
    learns_wishes: ClassVar[bool] = False
    wishes: Wishes | None = None

    @classmethod
    def build(
        cls,
        identifiers: Identifiers,
        features: Features,
        trie: Trie | None = None,
        **settings: object,
    ) -> Self:
        """An untrained recommender of a catalogue, its weights drawn from PyTorch's random state.

        Its constructor takes what `given` says it reads, and the settings.

        Args:
            identifiers: of all items.
            features: what else there is to read.
            trie: of the identifiers, for one that trains over legal codes; see `LegalCodes`.
            settings: flat keywords, ``max_history`` among them.

        Raises:
            TypeError: it has no such setting.
        """
        return cls(identifiers, **cls.given(features, trie), **settings)

    @classmethod
    def given(cls, features: Features, trie: Trie | None) -> dict[str, object]:
        """What the constructor takes of a catalogue besides identifiers, by its parameters."""
        return {"content": features.content}

    @classmethod
    def check(cls, features: Features, settings: Mapping[str, object]) -> None:
        """Refuse, before anything is trained, what `build` or `fit` could not work with.

        Args:
            features: what there is to read; content embeddings are not made yet.
            settings: as `build` takes them.

        Raises:
            LetterRecError: in one line, what is missing and what to do.
        """

    @classmethod
    def text_tokenizer(cls, settings: Mapping[str, object]) -> PreTrainedTokenizerBase | None:
        """The tokenizer of the words that it reads and writes; None where it knows codes alone.

        Titles as identifiers are spelled in its tokens.
        """
        return None

    @property
    def follows_instructions(self) -> bool:
        """Whether it was trained on wishes in words."""
        return self.wishes is not None

    def meets(self, instruction: str, allowed: Tensor | None = None) -> bool:
        """Whether the catalogue has anything near what an instruction asks for; true where that is
        not known.

        Args:
            instruction: what is wanted, in words.
            allowed: bool ``(n_items,)``: the items that may come back; None: all.
        """
        return True

    def read_wishes(self, encoder: QueryEncoder, texts: Sequence[str]) -> None:
        """Read wishes from now on, beside histories or alone; how is to be trained, or loaded.

        Args:
            encoder: of wishes, that of the items' content.
            texts: one per item, title first.

        Raises:
            SettingsError: it reads none, or not with its settings.
        """
        raise self._not_taught()

    def fit_wishes(
        self,
        pool: Tensor,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train the reader of wishes, and nothing else, once the recommender is trained.

        Args:
            pool: float ``(n_items, n, d_content)`` embeddings of ``n`` wishes for each item, each
                of length one; zeros where an item has none.
            histories: sequences of item rows, one per user.
            options: of the training.
            validate: metrics of the recommender as it is.

        Raises:
            SettingsError: it reads none.
        """
        raise self._not_taught()

    def _not_taught(self) -> SettingsError:
        return SettingsError(
            f"wishes.enabled: recommender {type(self).__name__.lower()!r} is not taught wishes "
            "this way; use recommender.name = 'rqt', or lcrec with recommender.tasks.query = 1"
        )

    @property
    def searches(self) -> bool:
        """Whether `ranker` searches identifiers, so that its scores are log-probabilities."""
        return True

    def ranker(
        self,
        trie: Trie,
        popularity: NDArray[np.int64],
        *,
        transitions: Transitions | None = None,
        beam: int = 20,
    ) -> Ranker:
        """What ranks the items of a catalogue, once the recommender is trained.

        Args:
            trie: of their identifiers.
            popularity: int64 ``(n_items,)``: how often each was chosen in training.
            transitions: mixed into the probabilities of identifiers.
            beam: prefixes kept per level where queries do not say.
        """
        return GenerativeRanker(self, trie, transitions, beam)

    @abstractmethod
    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on sequences of item rows, and keep the weights that validate best.

        Args:
            histories: sequences of item rows, one per user, with their behaviours where there are
                several.
            options: of the training.
            validate: metrics of the recommender as it is.

        Raises:
            DataError: no sequence has two items.
        """

    def fit_preferences(
        self,
        preferences: Preferences,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on, so that what was chosen gains on what its own beams offered instead.

        Args:
            preferences: to learn.
            options: of the training.
            validate: metrics of the recommender as it is.

        Raises:
            SettingsError: it learns none.
        """
        raise SettingsError(
            f"preference.enabled: recommender {type(self).__name__.lower()!r} does not learn "
            "preferences; use recommender.name=rqt"
        )

    @abstractmethod
    def encode(
        self,
        histories: Tensor,
        instructions: Sequence[str | None] | None = None,
        behaviours: Tensor | None = None,
    ) -> Decoder:
        """Read each history once.

        Args:
            histories: int64 ``(batch, longest)`` item rows, left-aligned, -1 after the end;
                ``longest`` at most ``max_history``, to which `GenerativeRanker` cuts them. Events,
                where it tells behaviours apart.
            instructions: what is wanted, in words, where it `follows_instructions`.
            behaviours: int64 ``(batch,)`` rows of those that are asked for, where it tells them
                apart; -1, or None: the targets.

        Returns:
            What scores the next codes of prefixes, for `beam_search.search`.
        """

    @property
    def predicts_behaviours(self) -> bool:
        """Whether it says by which behaviour the next item comes."""
        return self.n_behaviours > 1

    @abstractmethod
    def next_behaviours(self, histories: Tensor) -> Tensor:
        """How likely the next item comes by each behaviour, before one is asked for; of one that
        `predicts_behaviours`.

        Args:
            histories: int64 ``(batch, longest)`` events, as `encode` takes them, at least one each.

        Returns:
            float32 ``(batch, n_behaviours)``, one in sum.
        """

    @abstractmethod
    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        absent: NDArray[np.int64] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Go on with the same items and possibly more behind them.

        Args:
            identifiers: of all items.
            content: float32 ``(n_items, d_content)``, where the recommender was built with it.
            absent: int64 rows of items that are there no more; None for none.
            texts: one per item, title first, for one that reads wishes.

        Raises:
            IdentifierError: the levels have other sizes than those trained on.
        """

    def start_from(self, weights: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """Take over what training has decided on an earlier catalogue, to train on from there.

        Args:
            weights: the ``state_dict`` of a recommender of the same settings and code sizes.
            rows: int64 ``(n_items,)``: the row that each item had then; -1 for one that is new.
        """
        self.load_state_dict(dict(weights))

    def export(self, folder: Path) -> None:
        """Write the trained model as a folder that loads without LetterRec.

        Raises:
            RequestError: it is no language model.
        """
        raise RequestError(
            f"the run has the recommender {type(self).__name__.lower()!r}, which is no language "
            "model; fit one with: letterrec fit SOURCE --out RUN --recipe lcrec (or tiger); "
            "embeddings go out of any run with --embeddings"
        )


class LegalCodes:
    """Which codes may follow which, for a loss over legal codes: the trie, and every item's path.

    Both are built when training first asks for them; ranking asks for neither.

    Args:
        identifiers: of all items.
        trie: of the identifiers, where there is one already.
    """

    def __init__(self, identifiers: Identifiers, trie: Trie | None = None) -> None:
        self._identifiers, self._trie = identifiers, trie
        self._prefixes: Tensor | None = None

    def on(self, device: torch.device) -> tuple[Trie, Tensor]:
        """The trie, and `Trie.prefixes` int64 ``(n_items, n_levels)``, on a device."""
        if self._trie is None:
            self._trie = Trie.build(self._identifiers)
        if self._prefixes is None or self._prefixes.device != device:
            self._trie = self._trie.to(device)
            self._prefixes = self._trie.prefixes()
        return self._trie, self._prefixes


def check_sizes(identifiers: Identifiers, expected: tuple[int, ...]) -> None:
    """Refuse identifiers that a trained recommender has no codes for.

    Raises:
        IdentifierError: the levels have other sizes than those trained on.
    """
    if identifiers.sizes != expected:
        raise IdentifierError(
            f"identifiers with {identifiers.sizes} codes per level: expected {expected}, "
            "which the recommender was trained on; assign them with the same tokenizer"
        )


def check_trainable(histories: Histories) -> None:
    """Refuse sequences that say nothing of what follows what.

    Raises:
        DataError: no sequence has two items.
    """
    if histories.lengths.max(initial=0) < 2:
        raise DataError(
            f"none of the {len(histories)} training sequences has two items: expected at "
            "least one item and the next; give users with longer histories"
        )
