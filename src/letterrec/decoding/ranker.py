"""The seam between what ranks items and what asks for ranked items.

Evaluation, `Engine.recommend`, the server and bulk scoring know a `Ranker` and nothing else. A
generative recommender with its trie, its transitions and a beam is one (`GenerativeRanker`); a
model that gives every item a score is another (`ScoringRanker`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data import Histories
from letterrec.decoding.beam_search import Decoder, search
from letterrec.decoding.topk import best
from letterrec.decoding.trie import Trie
from letterrec.decoding.wish_effect import WishEffect
from letterrec.linear.transitions import Transitions, retrieved


@dataclass(frozen=True, eq=False)
class Queries:
    """A batch of queries that are answered together.

    Attributes:
        histories: item rows of each query, oldest first, all of them; a ranker reads the latest
            ``max_history``.
        k: items wanted for each.
        exclude_seen: bool ``(n,)``, or one for all: leave out the items of the history.
        allowed: bool ``(n_items,)`` or ``(n, n_items)``: the items that may come back; None: all.
        allowed_before: `constraints.counted` of ``allowed`` in the ranker's trie, where that is
            known already, as it is of a domain; for a ranker that searches.
        beam: prefixes kept per level, for a ranker that searches; None takes its own.
        instructions: what is wanted in words, for a ranker that follows instructions.
        users: int64 ``(n,)`` whose histories they are, as rows of the training data, -1 where that
            is not known; for a ranker that has learned of each user. None: of none.
        behaviours: int64 ``(n,)`` rows of the behaviours that are asked for, -1 for those that the
            ranker was trained to predict; for a ranker that reads behaviours. None: these.
        seen_by: bool ``(n_behaviours,)`` or ``(n, n_behaviours)``: the behaviours by which an item
            of the history counts as seen; None: all.
    """

    histories: Histories
    k: int
    exclude_seen: bool | NDArray[np.bool_] = False
    allowed: Tensor | None = None
    beam: int | None = None
    instructions: Sequence[str | None] = ()
    users: NDArray[np.int64] | None = None
    behaviours: NDArray[np.int64] | None = None
    seen_by: NDArray[np.bool_] | None = None
    allowed_before: Tensor | None = None

    def __len__(self) -> int:
        return len(self.histories)

    def seen(self) -> Tensor | None:
        """int64 ``(n, longest)`` item rows to leave out, -1 padded; None where nothing is."""
        excluding = torch.from_numpy(np.broadcast_to(self.exclude_seen, len(self)).copy())
        if not excluding.any():
            return None
        whole = torch.from_numpy(self.histories.padded())
        of_each = self.histories.behaviours
        if self.seen_by is not None and of_each is not None:
            query = np.repeat(np.arange(len(self)), self.histories.lengths)
            counts = np.broadcast_to(self.seen_by, (len(self), self.seen_by.shape[-1]))
            whole[whole >= 0] = torch.from_numpy(
                np.where(counts[query, of_each], self.histories.items, -1).astype(np.int64)
            )
        return whole.masked_fill(~excluding[:, None], -1)


class Ranking(tuple[Tensor, Tensor]):
    """The answer to `Queries`, best first: a pair of items and scores.

    Attributes:
        items: int64 ``(n, k)`` item rows, -1 where fewer than ``k`` are left.
        scores: float32 ``(n, k)``, higher is better, ``-inf`` where there is no item: natural
            log-probabilities of a generative recommender, scores of other models.
        wish_effect: what wishes in words changed in the search; None where there were none.
    """

    wish_effect: WishEffect | None

    def __new__(
        cls, items: Tensor, scores: Tensor, wish_effect: WishEffect | None = None
    ) -> Ranking:
        """Of both, and of what wishes changed."""
        self = super().__new__(cls, (items, scores))
        self.wish_effect = wish_effect
        return self

    @property
    def items(self) -> Tensor:
        """See the class."""
        return self[0]

    @property
    def scores(self) -> Tensor:
        """See the class."""
        return self[1]


class Ranker(Protocol):
    """What ranks items."""

    @property
    def max_history(self) -> int:
        """How many of the latest items of a history are read."""

    def rank(self, queries: Queries) -> Ranking:
        """The ``k`` best items of each query; `tests/contract_ranker.py` says what must hold."""


class Encoder(Protocol):
    """What a generative ranker needs of a recommender."""

    max_history: int
    n_behaviours: int

    def encode(
        self,
        histories: Tensor,
        instructions: Sequence[str | None] | None = None,
        behaviours: Tensor | None = None,
    ) -> Decoder:
        """Read each history once.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 padded; ``longest`` at
                most ``max_history``. Events (`Histories.events`) where the recommender reads more
                than one behaviour.
            instructions: what is wanted in words, where the recommender follows instructions.
            behaviours: int64 ``(n,)`` that are asked for, where it reads them; -1: its targets.
        """


@dataclass(frozen=True, eq=False)
class GenerativeRanker:
    """A generative recommender that spells items by beam search over the trie of identifiers.

    Attributes:
        recommender: encodes histories and scores the next codes.
        trie: the identifiers of the catalogue, on the device of the recommender.
        transitions: mixed into the probabilities; None: the recommender alone.
        beam: prefixes kept per level where the queries do not say.
    """

    recommender: Encoder
    trie: Trie
    transitions: Transitions | None = None
    beam: int = 20

    @property
    def max_history(self) -> int:
        """How many of the latest items of a history are read."""
        return self.recommender.max_history

    def rank(self, queries: Queries) -> Ranking:
        """Beam search with a beam of at least ``k``; see `beam_search.search`."""
        device = self.trie.items.device
        events = queries.histories.events(self.recommender.n_behaviours)
        recent = torch.from_numpy(events.padded(self.max_history)).to(device)
        behaviours = None
        if queries.behaviours is not None and self.recommender.n_behaviours > 1:
            behaviours = torch.from_numpy(queries.behaviours).to(device)
        seen, allowed = queries.seen(), queries.allowed
        with torch.no_grad():
            decoder = self._encoded(recent, queries.instructions, behaviours)
            if allowed is not None:
                allowed = allowed.to(device)
                decoder.limit(allowed)
            items, scores = search(
                decoder,
                self.trie,
                beam=self.beam if queries.beam is None else queries.beam,
                k=queries.k,
                seen=None if seen is None else seen.to(device),
                allowed=allowed,
                retrieved=retrieved(
                    self.transitions, recent, torch.from_numpy(events.padded()), behaviours
                ),
                allowed_before=queries.allowed_before,
            )
            return Ranking(items, scores, decoder.wish_effect)

    def _encoded(
        self, recent: Tensor, instructions: Sequence[str | None], behaviours: Tensor | None
    ) -> Decoder:
        words = instructions if any(instructions) else None
        if behaviours is not None:
            return self.recommender.encode(recent, words, behaviours)
        if words is not None:
            return self.recommender.encode(recent, words)
        return self.recommender.encode(recent)


class Scorer(Protocol):
    """What a scoring ranker needs of a model."""

    max_history: int

    def scores(self, histories: Tensor) -> Tensor:
        """Score every item as the next one of each history.

        Args:
            histories: int64 ``(n, longest)`` item rows, left-aligned, -1 padded; ``longest`` at
                most ``max_history``.

        Returns:
            float32 ``(n, n_items)``, higher is better.
        """


@dataclass(frozen=True, eq=False)
class ScoringRanker:
    """A model that gives every item a score; the ``k`` highest come back, ties by row.

    Attributes:
        model: scores all items for a batch of histories.
        device: of the model.
        reads: bool ``(n_behaviours,)``: the model knows one kind of interaction and reads those of
            these behaviours; None: all.
    """

    model: Scorer
    device: torch.device
    reads: NDArray[np.bool_] | None = None

    @property
    def max_history(self) -> int:
        """How many of the latest items of a history are read."""
        return self.model.max_history

    @torch.no_grad()
    def rank(self, queries: Queries) -> Ranking:
        """Score all items, leave out what is seen or not allowed, and take the best."""
        recent = torch.from_numpy(self._read(queries.histories).padded(self.max_history))
        if not recent.shape[1]:  # of all histories nothing is read
            recent = recent.new_full((len(recent), 1), -1)
        recent = recent.to(self.device)
        scores = self._scores(recent, queries).float()  # (n, n_items)
        if queries.allowed is not None:
            scores = scores.masked_fill(~queries.allowed.to(self.device), -torch.inf)
        seen = queries.seen()
        if seen is not None:
            seen = seen.to(self.device)
            row, place = (seen >= 0).nonzero(as_tuple=True)
            scores = scores.index_put((row, seen[row, place]), scores.new_full((), -torch.inf))
        items = best(scores, queries.k)
        scores = scores.gather(1, items)
        missing = (0, queries.k - items.shape[1])
        nothing = scores == -torch.inf
        return Ranking(
            torch.nn.functional.pad(items.masked_fill(nothing, -1), missing, value=-1),
            torch.nn.functional.pad(scores, missing, value=-torch.inf),
        )

    def _read(self, histories: Histories) -> Histories:
        return histories.only(self.reads)

    def _scores(self, recent: Tensor, queries: Queries) -> Tensor:
        return self.model.scores(recent)


@dataclass(frozen=True, eq=False)
class EventRanker(ScoringRanker):
    """A `ScoringRanker` whose model reads events (`Histories.events`) instead of items.

    Attributes:
        model: scores all items for a batch of histories of events.
        device: of the model.
        n_behaviours: that it tells apart.
    """

    n_behaviours: int = 1

    def _read(self, histories: Histories) -> Histories:
        return histories.events(self.n_behaviours)


class PersonalScorer(Protocol):
    """A model that may know whose history it scores."""

    max_history: int

    def scores(self, histories: Tensor, users: Tensor | None = None) -> Tensor:
        """As `Scorer.scores`; ``users`` int64 ``(n,)`` rows of the training data, -1 for nobody."""


@dataclass(frozen=True, eq=False)
class PersonalRanker(ScoringRanker):
    """A `ScoringRanker` that tells its model whose history it is, where that is known.

    Attributes:
        model: scores all items for a batch of histories and their users.
        device: of the model.
        reads: as of `ScoringRanker`.
    """

    model: PersonalScorer

    def _scores(self, recent: Tensor, queries: Queries) -> Tensor:
        if queries.users is None:
            return self.model.scores(recent)
        return self.model.scores(recent, torch.from_numpy(queries.users).to(self.device))
