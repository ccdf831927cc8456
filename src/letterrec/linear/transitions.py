"""Transitions: item-to-item weights for the next item, mixed into the search.

A network that generates identifiers generalises well and remembers single transitions badly. So a
table of transitions stands beside it: the items with the largest weights for a history are
retrieved and mixed into the recommender's probabilities, as kNN-LM does for language models
("Generalization through Memorization", ICLR'20). `transition_fitting` says how they are learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.embeddings.similarity import as_matrix, most_similar
from letterrec.files import refuse_damaged
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.linear.by_domain import ByDomain
from letterrec.linear.events import expand_to_events
from letterrec.linear.retrieved import Retrieved

_RETRIEVED = 100  # items retrieved per history
SOFTNESS = 0.1  # of the weights of similar items, in units of cosine
_NEW = 0.25  # weight of the similarity to a new item, relative to that to an item of training
_STRENGTHS = ("seen", "like", "decay", "weight")


@dataclass(frozen=True, eq=False)
class Transitions:
    """Item-to-item weights, and their share in the search.

    Attributes:
        table: float32 ``(n_items, n_items)``, none negative; the row is the item of the history. In
            runs of earlier versions these are counts of what followed what. Of more than one
            behaviour there is a row for each event: ``(n_items * n_behaviours, n_items)``.
        seen: weight of items that the history contains already, relative to others.
        like: weights that an item is expected to have for those similar to it, in sum, where
            nothing is known. This is part of ``table``.
        decay: weight of an item of the history, relative to the item after it.
        weight: the share of the probability that retrieved items get, below 1.
        n_behaviours: kinds of interactions that are told apart.
        targets: rows of the behaviours of what is retrieved.
        context: weight of predicting an item of another behaviour, relative to one of a target.
            This is part of ``table``.
        own: how far an item's behaviours were let differ, from `learn_transitions`.
        of_context: weights that predict items of other behaviours, of the shape of the table, from
            `learn_transitions`; None where there are none, and in a run.
        by_domain: strengths of histories whose latest item is of a domain that has its own; None
            where all have the same.
    """

    table: sp.csr_array[np.float32]
    seen: float = 1.0
    like: float = 0.0
    decay: float = 0.5
    weight: float = 0.5
    n_behaviours: int = 1
    targets: tuple[int, ...] = (0,)
    context: float = 0.0
    own: float = 1.0
    of_context: sp.csr_array[np.float32] | None = None
    by_domain: ByDomain | None = None

    @property
    def n_items(self) -> int:
        """Items of the table."""
        return int(self.table.shape[1])

    @property
    def strength(self) -> dict[str, float]:
        """What `tune_strengths` tunes: ``seen``, ``like``, ``decay`` and ``weight``."""
        return {name: getattr(self, name) for name in _STRENGTHS}

    @property
    def has_weight(self) -> bool:
        """Whether anything that is retrieved has a share."""
        apart = () if self.by_domain is None else self.by_domain.strengths.values()
        return any([self.weight, *(strength["weight"] for strength in apart)])

    def retrieve(
        self, histories: Tensor, seen: Tensor | None = None, behaviours: Tensor | None = None
    ) -> Retrieved:
        """The items of the largest weights for each history, for `beam_search.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, left-aligned, ``-1`` after the end.
                Rows beyond the table retrieve nothing. Events (`Histories.events`) where behaviours
                are told apart.
            seen: the same with all items of each history, where ``histories`` are the latest.
            behaviours: int64 ``(batch,)`` that are asked for; nothing is retrieved for one that is
                no target. -1, or None: the targets.

        Returns:
            Up to 100 items for each history, whose shares sum to `weight`; all shares are 0 for a
            history that retrieves nothing.
        """
        rows = histories.cpu().numpy()
        seen_weight, decay, weight = (self._of(name, rows) for name in ("seen", "decay", "weight"))
        steps_back = ((rows >= 0).sum(1, keepdims=True) - 1 - np.arange(rows.shape[1])).clip(0)
        weights = (decay[:, None] ** steps_back).astype(np.float32)
        found = self._spread(rows, weights, self.table.shape[0]) @ self.table
        if (seen_weight != 1).any():
            whole = rows if seen is None else seen.cpu().numpy()
            ones = np.ones(whole.shape, dtype=np.float32)
            had = self._spread(whole // self.n_behaviours, ones, self.n_items) > 0
            left_out = sp.csr_array(found.multiply(had))
            left_out.data *= np.repeat(1 - seen_weight, np.diff(left_out.indptr)).astype(np.float32)
            found = sp.csr_array(found - left_out)
        items, scores = _lines(found)
        best = _top(scores, _RETRIEVED)
        items, scores = items.gather(1, best), scores.gather(1, best)
        share = torch.from_numpy(weight[:, None].astype(np.float32))
        shares = share * scores / scores.sum(1, keepdim=True).clamp_min(1e-12)
        if behaviours is not None:
            others = ~torch.isin(behaviours.cpu(), torch.tensor([-1, *self.targets]))
            shares = shares.masked_fill(others[:, None], 0.0)
        return Retrieved(items.to(histories.device), shares.to(histories.device))

    def origins(
        self, history: Sequence[int], items: Sequence[int], retrieved: Retrieved
    ) -> NDArray[np.float32]:
        """Where the shares of items come from.

        Args:
            history: item rows, or events, oldest first, as `retrieve` read them.
            items: rows whose shares are asked for.
            retrieved: what `retrieve` gave for this one history, also where a wish has weighed it.

        Returns:
            float32 ``(len(history), len(items))``: what each item of the history adds to the share
            of each item, in sum the share that was retrieved.
        """
        shares = dict(zip(retrieved.items[0].tolist(), retrieved.shares[0].tolist(), strict=True))
        rows = np.asarray(history)
        weights = self._of("decay", rows[None]) ** np.arange(len(rows) - 1, -1, -1)
        known = np.flatnonzero(rows < self.table.shape[0])
        parts = np.zeros((len(rows), len(items)))
        parts[known] = weights[known, None] * self.table[rows[known]][:, list(items)].toarray()
        share = np.array([shares.get(item, 0.0) for item in items])
        parts *= share / np.maximum(parts.sum(0), 1e-12)
        return np.asarray(parts, dtype=np.float32)

    def _of(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """A strength, for each of ``(batch, longest)`` histories: that of its latest item."""
        given = float(self.strength[name])
        if self.by_domain is None or not rows.shape[1]:
            return np.full(len(rows), given)
        place = ((rows >= 0).sum(1) - 1).clip(0)
        latest = rows[np.arange(len(rows)), place]
        return self.by_domain.values(name, latest // self.n_behaviours, given)

    @staticmethod
    def _spread(
        rows: NDArray[np.int64], weights: NDArray[np.float32], n_rows: int
    ) -> sp.csr_array[np.float32]:
        """``(batch, n_rows)``: the weights of rows, both ``(batch, n)``."""
        case, place = np.nonzero((rows >= 0) & (rows < n_rows))
        entries = (weights[case, place], (case, rows[case, place]))
        return sp.coo_array(entries, shape=(len(rows), n_rows)).tocsr()

    def with_like(self, similar: sp.csr_array[np.float32], like: float) -> Transitions:
        """The same transitions, with weights expected from each item to those similar to it.

        Args:
            similar: what similarity adds, from `learn_transitions`.
            like: how much, in sum over the similar items of an item.
        """
        table = self.table + np.float32(like - self.like) * similar
        return replace(self, table=sp.csr_array(table), like=like)

    def with_domains(
        self, by_domain: ByDomain, similar: sp.csr_array[np.float32] | None
    ) -> Transitions:
        """The same transitions, with strengths that differ by domain.

        Args:
            by_domain: these strengths.
            similar: what similarity adds, from `learn_transitions`; None where there is none.
        """
        if similar is None:
            return replace(self, by_domain=by_domain)
        likes = by_domain.values("like", np.arange(self.n_items), self.like)
        more = np.repeat(likes - self.like, self.n_behaviours).astype(np.float32)
        table = sp.csr_array(self.table + sp.diags_array(more) @ similar)
        return replace(self, table=table, by_domain=by_domain)

    def with_context(self, context: float) -> Transitions:
        """The same transitions, which predict items of other behaviours too.

        Args:
            context: with which weight, relative to items of the targets.
        """
        if self.of_context is None:
            return self
        table = self.table + np.float32(context - self.context) * self.of_context
        return replace(self, table=sp.csr_array(table), context=context)

    def grown(self, content: NDArray[np.float32], new: NDArray[np.float32]) -> Transitions:
        """With items added after training, which inherit the transitions of their nearest items by
        content, in both directions.

        Similarity to a new item counts a quarter, since nobody has used it yet.

        Args:
            content: float32 ``(n, d)`` content embeddings of the items trained on.
            new: float32 ``(m, d)`` of items added to those of the table.
        """
        similarity = as_matrix(most_similar(content, new, SOFTNESS), self.n_items)  # (m, n)
        onwards = expand_to_events(similarity, np.eye(self.n_behaviours)) @ self.table
        likes = np.isin(np.arange(self.n_behaviours), self.targets)[:, None]
        alike, back = expand_to_events(similarity, likes), expand_to_events(similarity.T, likes)
        blocks = [
            [self.table, (self.table @ similarity.T) + _NEW * self.like * back],
            [onwards + self.like * alike, onwards @ similarity.T],
        ]
        table = sp.csr_array(sp.block_array(blocks, format="csr"))
        return replace(self, table=table, of_context=None)

    def at_rows(self, rows: NDArray[np.integer], n_rows: int) -> Transitions:
        """The same transitions where item ``i`` has row ``rows[i]`` of ``n_rows``; none of others.

        Args:
            rows: int64 ``(n_items,)``, each once.
            n_rows: of the catalogue.
        """
        if len(rows) == n_rows and np.array_equal(rows, np.arange(n_rows)):
            return self
        table = self.table.tocoo()
        before, after = table.coords
        n = self.n_behaviours
        events = rows[before // n] * n + before % n
        placed = sp.coo_array((table.data, (events, rows[after])), shape=(n_rows * n, n_rows))
        apart = None if self.by_domain is None else self.by_domain.at_rows(rows, n_rows)
        return replace(self, table=placed.tocsr(), of_context=None, by_domain=apart)

    def save(self, path: Path, about: Mapping[str, str]) -> None:
        """Write one safetensors file, with ``about`` beside what `load` needs."""
        kinds: dict[str, str] = {}
        if self.n_behaviours > 1:
            kinds = {
                "behaviours": str(self.n_behaviours),
                "targets": json.dumps(self.targets),
                "context": repr(self.context),
                "own": repr(self.own),
            }
        tensors = {
            "counts": torch.from_numpy(self.table.data),  # the name of the first version
            "items": torch.from_numpy(self.table.indices.astype(np.int32)),
            "offsets": torch.from_numpy(self.table.indptr.astype(np.int64)),
        }
        if self.by_domain is not None:
            kinds["domains"] = self.by_domain.told()
            tensors["domains"] = torch.from_numpy(self.by_domain.of_items)
        write_tensors(
            path,
            tensors,
            {**about, **{name: repr(value) for name, value in self.strength.items()}, **kinds},
        )

    @classmethod
    def load(cls, path: Path) -> Transitions:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        tensors, about = read_tensors(path)
        with refuse_damaged(path):
            counts, items, offsets = (tensors[n].numpy() for n in ("counts", "items", "offsets"))
            n_behaviours = int(about.get("behaviours", 1))
            targets = tuple(json.loads(about.get("targets", "[0]")))
            n_items, rest = divmod(len(offsets) - 1, n_behaviours)
            if rest:
                raise ValueError(f"{len(offsets) - 1} rows are not of {n_behaviours} behaviours")
            if counts.dtype != np.float32 or {items.dtype.kind, offsets.dtype.kind} != {"i"}:
                raise TypeError(f"counts are {counts.dtype}, items {items.dtype}")
            shape = (len(offsets) - 1, n_items)
            table = sp.csr_array((counts, items, offsets), shape=shape)
            table.check_format(full_check=True)  # SciPy follows wrong indices out of the memory
            if not np.isfinite(counts).all():
                raise ValueError("a count is not finite")
            known = {name: float(about[name]) for name in _STRENGTHS if name in about}
            context, own = float(about.get("context", 0.0)), float(about.get("own", 1.0))
            apart = None
            if "domains" in about:
                of_items = tensors["domains"].numpy()
                if of_items.shape != (n_items,):
                    raise ValueError(f"domains of {of_items.shape} items, not of {n_items}")
                apart = ByDomain.read(about["domains"], of_items, _STRENGTHS)
        made = cls(table, n_behaviours=n_behaviours, targets=targets, context=context, own=own)
        strength = made.strength | known  # runs made before `seen` was chosen lack it
        seen, like, decay, weight = (strength[name] for name in _STRENGTHS)
        return replace(made, seen=seen, like=like, decay=decay, weight=weight, by_domain=apart)


def retrieved(
    transitions: Transitions | None,
    histories: Tensor,
    seen: Tensor | None = None,
    behaviours: Tensor | None = None,
) -> Retrieved | None:
    """The items retrieved for histories (see `Transitions.retrieve`); None without transitions, or
    where they have no weight.
    """
    if transitions is None or not transitions.has_weight:
        return None
    return transitions.retrieve(histories, seen, behaviours)


def _lines(matrix: sp.csr_array[np.float32]) -> tuple[Tensor, Tensor]:
    """Columns int64 and entries float32 of each row, ``(rows, longest)``, padded by -1 and 0."""
    lengths = np.diff(matrix.indptr)
    inside = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    items = np.full(inside.shape, -1, dtype=np.int64)
    scores = np.zeros(inside.shape, dtype=np.float32)
    items[inside], scores[inside] = matrix.indices, matrix.data
    return torch.from_numpy(items), torch.from_numpy(scores)


def _top(scores: Tensor, k: int) -> Tensor:
    """Indices int64 ``(rows, k)`` of the largest scores, which are not negative, or of all.

    Ties go to the lower index, so that the choice does not depend on the batch: the bits of a
    positive float64 are an integer that rises with it, and a float32 leaves the lowest 29 free.
    """
    width = scores.shape[1]
    keys = scores.to(torch.float64).view(torch.int64) + torch.arange(width - 1, -1, -1)
    return keys.topk(min(k, width), dim=1).indices
