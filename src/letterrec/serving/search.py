"""Prepared queries become ranked items: which are searched together, and among which items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from letterrec.data import Dataset, Histories
from letterrec.decoding.ranker import Queries
from letterrec.decoding.wish_effect import WishEffect
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.models import Model
from letterrec.serving.queries import Prepared
from letterrec.training.devices import device

_MASKED = 2**24  # items times queries in one search, where queries bring filters of their own


class Found(NamedTuple):
    """What was found for a query.

    Attributes:
        items: rows with log-probabilities or scores, best first.
        wished: what the query's wish changed in the search, where the answer is to be explained
            and it has one.
    """

    items: list[tuple[int, float]]
    wished: WishEffect | None = None


@dataclass(frozen=True, eq=False)
class Search:
    """Answers queries from one catalogue, also such as were prepared for an earlier one.

    Attributes:
        catalogue: as it stands.
        dataset: of the run.
        model: what ranks.
        batch_size: queries that are searched together at most.
    """

    catalogue: Catalogue
    dataset: Dataset
    model: Model
    batch_size: int

    def found(self, queries: Sequence[Prepared]) -> list[Found]:
        """The best items of each query.

        Queries are searched together where that changes no answer: those of one beam and domain.
        """
        answers = [Found([]) for _ in queries]
        groups: dict[tuple[int, str | None], list[int]] = {}
        for i, query in enumerate(queries):
            if query.rows or query.instruction:
                groups.setdefault((query.beam, query.domain), []).append(i)
            else:
                answers[i] = Found(self._popular(query))
        for (beam, domain), members in groups.items():
            members.sort(key=lambda i: len(queries[i].rows))  # batches of equal lengths pad little
            for batch in self._batches(queries, members):
                found = self._searched([queries[i] for i in batch], beam, domain)
                for i, answer in zip(batch, found, strict=True):
                    answers[i] = answer
        return answers

    def _batches(self, queries: Sequence[Prepared], members: list[int]) -> Iterator[list[int]]:
        size = self.batch_size
        if len({id(queries[i].mask) for i in members}) > 1:
            size = max(1, min(size, _MASKED // self.catalogue.n_rows))
        for start in range(0, len(members), size):
            yield members[start : start + size]

    def _searched(self, queries: list[Prepared], beam: int, domain: str | None) -> list[Found]:
        asked = seen_by = None
        if self.dataset.behaviours:
            asked = np.array([q.behaviour for q in queries], dtype=np.int64)
            everything = np.ones(self.dataset.n_behaviours, dtype=bool)
            seen_by = np.stack([everything if q.seen_by is None else q.seen_by for q in queries])
        allowed, before = self._allowed(queries, domain)
        ranking = self.model.ranker(self.catalogue).rank(
            Queries(
                histories_of(queries, self.dataset),
                max(q.k for q in queries),
                np.array([q.exclude_seen for q in queries]),
                allowed,
                beam,
                [q.instruction for q in queries],
                np.array([q.user for q in queries], dtype=np.int64),
                asked,
                seen_by,
                before,
            )
        )
        found = []
        wishes = ranking.wish_effect
        lines = zip(queries, ranking.items.tolist(), ranking.scores.tolist(), strict=True)
        for place, (query, line, score) in enumerate(lines):
            best = [(i, s) for i, s in zip(line, score, strict=True) if i >= 0][: query.k]
            is_told = query.explain and query.instruction is not None and len(query.rows) > 0
            told = wishes.of(place) if wishes is not None and is_told else None
            found.append(Found(best, told))
        return found

    def may_get(self, query: Prepared) -> Tensor | None:
        """What a query may get, whatever its history is: bool ``(n_rows,)`` on the device; None:
        all.
        """
        return self._allowed([query], query.domain)[0]

    def _allowed(
        self, queries: Sequence[Prepared], domain: str | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What queries of one domain may get: bool ``(n_rows,)``, or ``(batch, n_rows)`` where
        filters differ, None where none is; and what is counted of it, where a domain is all that
        limits them.
        """
        catalogue = self.catalogue
        part = None if domain is None else catalogue.domain(domain)
        masks = [q.mask for q in queries]
        if all(m is None for m in masks):
            return (catalogue.active, None) if part is None else (part.allowed, part.before)
        if part is None and masks[0] is not None and all(m is masks[0] for m in masks):
            return catalogue.allowed(masks[0])
        if all(m is masks[0] for m in masks):
            masks = masks[:1]
        # Items that were added after a query was prepared are not among those it allows.
        flags = np.zeros((len(masks), catalogue.n_rows), dtype=bool)
        for line, mask in zip(flags, masks, strict=True):
            if mask is None:
                line[:] = True
            else:
                line[: len(mask)] = mask
        allowed = torch.from_numpy(flags).to(device())
        active = catalogue.active if part is None else part.allowed
        if active is not None:
            allowed &= active
        return allowed[0] if len(masks) == 1 else allowed, None

    def _popular(self, query: Prepared) -> list[tuple[int, float]]:
        """What an empty history gets: the items most frequent in training."""
        catalogue = self.catalogue
        counts = (catalogue.popularity + 1.0) * catalogue.is_present  # none has probability zero
        score = np.log(np.maximum(counts, 1.0) / counts.sum())
        order = np.argsort(-counts, kind="stable")
        order = order[catalogue.states[order] == 0]
        if query.domain is not None:
            order = order[catalogue.domain(query.domain).flags[order]]
        if query.mask is not None:
            known = order < len(query.mask)
            order = order[known][query.mask[order[known]]]
        return [(int(i), float(score[i])) for i in order[: query.k]]


def histories_of(queries: Sequence[Prepared], dataset: Dataset) -> Histories:
    """The histories of queries, with behaviours where the data have them."""
    histories = Histories.from_lists([q.rows for q in queries])
    if not dataset.behaviours:
        return histories
    of_each = np.array([b for q in queries for b in q.behaviours], dtype=np.int8)
    return replace(histories, behaviours=of_each)
