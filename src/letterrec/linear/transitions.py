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

    @property
    def n_items(self) -> int:
        """Items of the table."""
        return int(self.table.shape[1])

    @property
    def strength(self) -> dict[str, float]:
        """What `tune_strengths` tunes: ``seen``, ``like``, ``decay`` and ``weight``."""
        return {name: getattr(self, name) for name in _STRENGTHS}

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
        steps_back = ((rows >= 0).sum(1, keepdims=True) - 1 - np.arange(rows.shape[1])).clip(0)
        weights = (self.decay**steps_back).astype(np.float32)
        found = self._spread(rows, weights, self.table.shape[0]) @ self.table
        if self.seen != 1:
            whole = rows if seen is None else seen.cpu().numpy()
            ones = np.ones(whole.shape, dtype=np.float32)
            had = self._spread(whole // self.n_behaviours, ones, self.n_items) > 0
            found = sp.csr_array(found - (1 - self.seen) * found.multiply(had))
        items, scores = _lines(found)
        best = _top(scores, _RETRIEVED)
        items, scores = items.gather(1, best), scores.gather(1, best)
        shares = self.weight * scores / scores.sum(1, keepdim=True).clamp_min(1e-12)
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
        weights = self.decay ** np.arange(len(rows) - 1, -1, -1)
        known = np.flatnonzero(rows < self.table.shape[0])
        parts = np.zeros((len(rows), len(items)))
        parts[known] = weights[known, None] * self.table[rows[known]][:, list(items)].toarray()
        share = np.array([shares.get(item, 0.0) for item in items])
        parts *= share / np.maximum(parts.sum(0), 1e-12)
        return np.asarray(parts, dtype=np.float32)

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
        return replace(self, table=placed.tocsr(), of_context=None)

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
        write_tensors(
            path,
            {
                "counts": torch.from_numpy(self.table.data),  # the name of the first version
                "items": torch.from_numpy(self.table.indices.astype(np.int32)),
                "offsets": torch.from_numpy(self.table.indptr.astype(np.int64)),
            },
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
        made = cls(table, n_behaviours=n_behaviours, targets=targets, context=context, own=own)
        strength = made.strength | known  # runs made before `seen` was chosen lack it
        seen, like, decay, weight = (strength[name] for name in _STRENGTHS)
        return replace(made, seen=seen, like=like, decay=decay, weight=weight)


def retrieved(
    transitions: Transitions | None,
    histories: Tensor,
    seen: Tensor | None = None,
    behaviours: Tensor | None = None,
) -> Retrieved | None:
    """The items retrieved for histories (see `Transitions.retrieve`); None without transitions, or
    where they have no weight.
    """
    if transitions is None or not transitions.weight:
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
