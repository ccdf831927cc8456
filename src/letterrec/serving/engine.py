"""A fitted run as a Python call: histories in, items with log-probabilities out.

The one path behind `letterrec.load`, the command line and the server. Knows external ids, what a
query may ask, and the catalogue as it stands now. Leaves HTTP to `app`, the queue to `batching`,
edits of the catalogue to `editing` and the search to `decoding`.

An engine may be used from several threads. The catalogue is one immutable object that is replaced
as a whole; rows never change their meaning, so that a query prepared before an edit is answered
after it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.config import Settings
from letterrec.data import Dataset, Histories
from letterrec.decoding.beam import search
from letterrec.decoding.trie import Trie
from letterrec.errors import NotFound, RequestError
from letterrec.identifiers import Identifiers
from letterrec.recommenders import Recommender
from letterrec.serving.catalogue import Catalogue
from letterrec.serving.changes import Changes, read_changes, version_of
from letterrec.store import fingerprint, reading
from letterrec.training import device
from letterrec.transitions import Transitions, recalled

Recommendations = list[tuple[str, float]]
_MASKED = 2**24  # items times queries in one search, where queries bring filters of their own


@dataclass(frozen=True)
class Query:
    """What one recommendation request asks.

    Attributes:
        history: external item ids, oldest first.
        k: items wanted.
        exclude_seen: leave out the items of the history.
        allowed: recommend only from these items; None allows all.
        blocked: never recommend these.
        beam: prefixes kept per level, at least ``k``; None takes the run's.
        instruction: what is wanted, in words, for a recommender that reads them.
    """

    history: Sequence[str]
    k: int = 10
    exclude_seen: bool = True
    allowed: Collection[str] | None = None
    blocked: Collection[str] = ()
    beam: int | None = None
    instruction: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A query that was found valid, in item rows; ``mask`` has the items it may get."""

    rows: list[int]
    k: int
    beam: int
    exclude_seen: bool
    mask: NDArray[np.bool_] | None
    instruction: str | None = None


class Engine:
    """A catalogue, its identifiers and a trained recommender, ready to answer.

    Made by `letterrec.load`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        dataset: Dataset,
        identifiers: Identifiers,
        recommender: Recommender,
        content: NDArray[np.float32] | None = None,
        transitions: Transitions | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.dataset = dataset
        self.recommender = recommender
        self.content = content
        self.catalogue = Catalogue.trained(dataset, identifiers, transitions)
        self.key = fingerprint(dataset.item_ids, identifiers.codes)
        self._changing = threading.Lock()
        self._version: tuple[int, int, int] | None = None

    @property
    def identifiers(self) -> Identifiers:
        """Of all items of the catalogue."""
        return self.catalogue.identifiers

    @property
    def trie(self) -> Trie:
        """Of all items of the catalogue."""
        return self.catalogue.trie

    @property
    def titles(self) -> dict[str, str]:
        """Item id -> title."""
        catalogue = self.catalogue
        return dict(zip(catalogue.item_ids, catalogue.titles, strict=True))

    def refresh(self) -> bool:
        """Take over edits of the catalogue that are on the disk and not here.

        Returns:
            Whether there were any.

        Raises:
            RunError: their file is damaged; the catalogue stays as it was.
        """
        with self._changing:
            version = version_of(self.folder)
            if version == self._version:
                return False
            changes = read_changes(self.folder, self.key, self.identifiers.n_levels)
            if changes.generation > self.catalogue.generation:
                with reading(self.folder / "catalogue.parquet"):
                    self._take(changes)
            self._version = version
            return True

    def take(self, changes: Changes) -> None:
        """Go on with an edited catalogue, unless this one is as new."""
        with self._changing:
            if changes.generation > self.catalogue.generation:
                self._take(changes)

    def _take(self, changes: Changes) -> None:
        catalogue = self.catalogue.changed(changes, self.content)
        if catalogue.n_items != self.catalogue.n_items:
            content = self.content
            if content is not None and len(changes.content):
                content = np.concatenate([content, changes.content])
            # First the recommender, which then knows more rows than anyone asks it about.
            self.recommender.set_catalogue(
                catalogue.identifiers, None if content is None else torch.from_numpy(content)
            )
        self.catalogue = catalogue

    def history_of(self, user: str) -> list[str]:
        """A known user's items, oldest first.

        Raises:
            NotFound: the run has not seen this user.
        """
        row = self.dataset.user_rows.get(user)
        if row is None:
            raise NotFound(
                f"user {user!r} is not among the {self.dataset.n_users} users of {self.folder}; "
                "give a history instead"
            )
        return [self.dataset.item_ids[i] for i in self.dataset.interactions[row]]

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        exclude_seen: bool = True,
        allowed: Collection[str] | None = None,
        beam: int | None = None,
        instruction: str | None = None,
    ) -> list[Recommendations]:
        """The ``k`` best next items for each history.

        Args:
            histories: external item ids, oldest first; the latest ones count most, and only as
                many as the recommender reads. An empty history gets the items most frequent in
                training.
            k: items wanted.
            exclude_seen: leave out the items of the history itself (all of it).
            allowed: recommend only from these items; None allows all.
            beam: prefixes kept per level, at least ``k``; None takes the run's.
            instruction: what is wanted, in words, beside or instead of a history; for a recommender
                that was trained on such wishes (`lcrec` with the task ``query``).

        Returns:
            Per history up to ``k`` pairs of item id and natural log-probability, best first; fewer
            only where fewer items are left.

        Raises:
            RequestError: an unknown item, a ``k`` or ``beam`` below 1, a bare string where a list
                belongs, or an instruction to a recommender that reads none.
        """
        if isinstance(histories, str) or any(isinstance(h, str) for h in histories):
            raise RequestError("histories is a list of lists of item ids; a string came instead")
        mask = self._mask(allowed, ())
        queries = [
            Query(history, k, exclude_seen, None, (), beam, instruction) for history in histories
        ]
        answers = self.answer([self.prepare(query, mask) for query in queries])
        item_ids = self.catalogue.item_ids
        return [[(item_ids[i], score) for i, score in answer] for answer in answers]

    def prepare(self, query: Query, mask: NDArray[np.bool_] | None = None) -> Prepared:
        """Check a query and turn it into rows; ``mask`` is used if the query has no filter.

        Raises:
            RequestError: see `recommend`; `NotFound` for an unknown item.
        """
        for name, number in (("k", query.k), ("beam", 1 if query.beam is None else query.beam)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise RequestError(f"{name} = {number!r}: expected a whole number of at least 1")
        instruction = " ".join((query.instruction or "").split()) or None
        if instruction is not None and not getattr(self.recommender, "follows_instructions", False):
            raise RequestError(
                f"{self.folder} was not trained to follow instructions; fit with: --recipe lcrec "
                "--set recommender.tasks.query=1"
            )
        rows = [self._row(item) for item in query.history]
        k = min(query.k, self.catalogue.n_items)
        beam = max(k, query.beam or self.settings.evaluation.beam)
        if query.allowed is not None or query.blocked:
            mask = self._mask(query.allowed, query.blocked)
        return Prepared(rows, k, beam, query.exclude_seen, mask, instruction)

    def answer(self, queries: Sequence[Prepared]) -> list[list[tuple[int, float]]]:
        """The best items of prepared queries, as rows with log-probabilities.

        Queries are searched together where that changes no answer: those of one beam.
        """
        catalogue = self.catalogue
        answers: list[list[tuple[int, float]]] = [[] for _ in queries]
        by_beam: dict[int, list[int]] = {}
        for i, query in enumerate(queries):
            if query.rows or query.instruction:
                by_beam.setdefault(query.beam, []).append(i)
            else:
                answers[i] = _popular(catalogue, query)
        for beam, members in by_beam.items():
            members.sort(key=lambda i: len(queries[i].rows))  # batches of equal lengths pad little
            for batch in self._batches(queries, members, catalogue.n_items):
                found = self._search(catalogue, [queries[i] for i in batch], beam)
                for i, answer in zip(batch, found, strict=True):
                    answers[i] = answer
        return answers

    def _batches(
        self, queries: Sequence[Prepared], members: list[int], n_items: int
    ) -> Iterator[list[int]]:
        size = self.settings.evaluation.batch_size
        if len({id(queries[i].mask) for i in members}) > 1:
            size = max(1, min(size, _MASKED // n_items))
        for start in range(0, len(members), size):
            yield members[start : start + size]

    def _search(
        self, catalogue: Catalogue, queries: list[Prepared], beam: int
    ) -> list[list[tuple[int, float]]]:
        packed = Histories.from_lists([q.rows for q in queries])
        recent = torch.from_numpy(packed.padded(self.recommender.max_history)).to(device())
        whole = torch.from_numpy(packed.padded())
        excluding = torch.tensor([q.exclude_seen for q in queries])
        seen = whole.masked_fill(~excluding[:, None], -1).to(device()) if excluding.any() else None
        wishes = [q.instruction for q in queries]
        recommender: Any = self.recommender
        items, scores = search(
            recommender.encode(recent, wishes) if any(wishes) else recommender.encode(recent),
            catalogue.trie,
            beam=beam,
            k=max(q.k for q in queries),
            seen=seen,
            allowed=_allowed(catalogue, queries),
            recalled=recalled(catalogue.transitions, recent, whole),
        )
        return [
            [(i, s) for i, s in zip(line, score, strict=True) if i >= 0][: query.k]
            for line, score, query in zip(items.tolist(), scores.tolist(), queries, strict=True)
        ]

    def _row(self, item: str) -> int:
        row = self.catalogue.rows.get(item)
        if row is None:
            raise NotFound(
                f"item {item!r} is not among the {self.catalogue.n_items} items of {self.folder}; "
                "leave it out, or add it to the catalogue"
            )
        return row

    def _mask(
        self, allowed: Collection[str] | None, blocked: Collection[str]
    ) -> NDArray[np.bool_] | None:
        for name, items in (("allowed", allowed), ("blocked", blocked)):
            if isinstance(items, str):
                raise RequestError(f"{name} is a collection of item ids; a string came instead")
        if allowed is None and not blocked:
            return None
        mask = np.full(self.catalogue.n_items, allowed is None)
        mask[[self._row(item) for item in allowed or ()]] = True
        mask[[self._row(item) for item in blocked]] = False
        return mask


def _allowed(catalogue: Catalogue, queries: list[Prepared]) -> Tensor | None:
    """bool ``(n_items,)``, or ``(batch, n_items)`` where filters differ; None where none is."""
    masks = [q.mask for q in queries]
    if all(m is None for m in masks):
        return catalogue.active
    if all(m is masks[0] for m in masks):
        masks = masks[:1]
    # Items that were added after a query was prepared are not among those it allows.
    flags = np.zeros((len(masks), catalogue.n_items), dtype=bool)
    for line, mask in zip(flags, masks, strict=True):
        if mask is None:
            line[:] = True
        else:
            line[: len(mask)] = mask
    allowed = torch.from_numpy(flags).to(catalogue.trie.items.device)
    if catalogue.active is not None:
        allowed &= catalogue.active
    return allowed[0] if len(masks) == 1 else allowed


def _popular(catalogue: Catalogue, query: Prepared) -> list[tuple[int, float]]:
    """What an empty history gets: the items most frequent in training."""
    counts = catalogue.popularity + 1.0  # no item has probability zero
    score = np.log(counts / counts.sum())
    order = np.argsort(-counts, kind="stable")
    order = order[catalogue.states[order] == 0]
    if query.mask is not None:
        known = order < len(query.mask)
        order = order[known][query.mask[order[known]]]
    return [(int(i), float(score[i])) for i in order[: query.k]]
