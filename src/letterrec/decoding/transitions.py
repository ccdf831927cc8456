"""Transitions: which items followed which in training, counted and mixed into the search.

A network that spells identifiers generalises well and remembers single transitions badly. So
transitions are counted; for a history, the items that followed its items in training are retrieved
and mixed into the recommender's probabilities, as kNN-LM does for language models
("Generalization through Memorization", ICLR'20). Items with similar content count as if they had
followed each other. How much all this counts is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.sequences import Histories
from letterrec.decoding.mixture import Retrieved
from letterrec.embeddings.similarity import as_matrix, most_similar, similar_items
from letterrec.files import read_tensors, reading, write_tensors
from letterrec.progress import counting

_FOLLOWING = 200  # items kept per item: of those that follow it, the most frequent
_RETRIEVED = 100  # items retrieved per history
_SOFTNESS = 0.1  # of the weights of similar items, in units of cosine
_NEW = 0.25  # weight of the similarity to a new item, relative to that to an item of training
_LIKES = (1.0, 2.0, 4.0, 8.0)
_DECAYS = (0.5, 0.7, 0.85)
_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8)
_FIRST_WEIGHT = 0.5
_STRENGTHS = ("seen", "like", "decay", "weight")


@dataclass(frozen=True, eq=False)
class Transitions:
    """How often each item followed each other one, and how much that counts in the search.

    Attributes:
        counts: float32 ``(n_items, n_items)``; the row is the item that came before.
        seen: weight of items that the history contains already, relative to others.
        like: total weight of an item's similar items: together they count as this many observed
            transitions. Included in ``counts``.
        decay: weight of an item of the history, relative to the item after it.
        weight: the share of the probability that retrieved items get, below 1.
    """

    counts: sp.csr_array[np.float32]
    seen: float = 1.0
    like: float = 0.0
    decay: float = _DECAYS[0]
    weight: float = _FIRST_WEIGHT

    @classmethod
    def count(
        cls, histories: Histories, n_items: int, *, steps: int = 3, backwards: float = 0.3
    ) -> Transitions:
        """Count the transitions of sequences.

        Args:
            histories: of training.
            n_items: in the catalogue.
            steps: items up to so many places later count as followers, each place half as much as
                the one before.
            backwards: weight of the opposite direction, relative to the direction of time.
        """
        counts = sp.csr_array((n_items, n_items), dtype=np.float32)
        sequence = np.repeat(np.arange(len(histories)), histories.lengths)
        for step in range(1, steps + 1):
            together = sequence[step:] == sequence[:-step]
            before, after = histories.items[:-step][together], histories.items[step:][together]
            ones = np.full(len(before), 0.5 ** (step - 1), dtype=np.float32)
            forwards = sp.coo_array((ones, (before, after)), shape=counts.shape).tocsr()
            counts = counts + forwards + backwards * forwards.T
        # Divide each row by the square root of its sum: frequent items count more, but less than
        # in proportion.
        evidence = sp.diags_array(1 / np.sqrt(counts.sum(1) + 1))
        return cls(_largest(sp.csr_array(evidence @ counts).astype(np.float32), _FOLLOWING))

    @property
    def strength(self) -> dict[str, float]:
        """The weights that `chosen` tunes: ``seen``, ``like``, ``decay`` and ``weight``."""
        return {name: getattr(self, name) for name in _STRENGTHS}

    def retrieve(self, histories: Tensor, seen: Tensor | None = None) -> Retrieved:
        """The items that followed those of histories in training, for `beam_search.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, left-aligned, ``-1`` after the end.
                Rows beyond the counts retrieve nothing.
            seen: the same with all items of each history, where ``histories`` are the latest.

        Returns:
            Up to 100 items for each history, whose shares sum to `weight`; all shares are 0 for a
            history that retrieves nothing.
        """
        rows = histories.cpu().numpy()
        steps_back = ((rows >= 0).sum(1, keepdims=True) - 1 - np.arange(rows.shape[1])).clip(0)
        weights = (self.decay**steps_back).astype(np.float32)
        found = self._spread(rows, weights) @ self.counts
        if self.seen != 1:
            whole = rows if seen is None else seen.cpu().numpy()
            had = self._spread(whole, np.ones(whole.shape, dtype=np.float32)) > 0
            found = sp.csr_array(found - (1 - self.seen) * found.multiply(had))
        items, scores = _lines(found)
        best = _top(scores, _RETRIEVED)
        items, scores = items.gather(1, best), scores.gather(1, best)
        shares = self.weight * scores / scores.sum(1, keepdim=True).clamp_min(1e-12)
        return Retrieved(items.to(histories.device), shares.to(histories.device))

    def _spread(
        self, rows: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> sp.csr_array[np.float32]:
        """``(batch, n_items)``: the weights of item rows, both ``(batch, n)``."""
        n_items = self.counts.shape[0]
        case, place = np.nonzero((rows >= 0) & (rows < n_items))
        entries = (weights[case, place], (case, rows[case, place]))
        return sp.coo_array(entries, shape=(len(rows), n_items)).tocsr()

    def with_like(self, similarity: sp.csr_array[np.float32], like: float) -> Transitions:
        """The same transitions, with similar items counted as if they had followed each other.

        Args:
            similarity: from `similarity_of`.
            like: how often, in sum over the similar items of an item.
        """
        counts = self.counts + (like - self.like) * similarity
        return replace(self, counts=sp.csr_array(counts), like=like)

    def grown(self, content: NDArray[np.float32], new: NDArray[np.float32]) -> Transitions:
        """With items added after training, which inherit the transitions of their nearest items by
        content, in both directions.

        Similarity to a new item counts a quarter, since nobody has used it yet.

        Args:
            content: float32 ``(n, d)`` content embeddings of the items trained on.
            new: float32 ``(m, d)`` of items added to those that are counted here.
        """
        n = self.counts.shape[0]
        similarity = as_matrix(most_similar(content, new, _SOFTNESS), n)  # (m, n)
        onwards = similarity @ self.counts
        blocks = [
            [self.counts, (self.counts @ similarity.T) + _NEW * self.like * similarity.T],
            [onwards + self.like * similarity, onwards @ similarity.T],
        ]
        return replace(self, counts=sp.csr_array(sp.block_array(blocks, format="csr")))

    def at_rows(self, rows: NDArray[np.integer], n_rows: int) -> Transitions:
        """The same transitions where item ``i`` has row ``rows[i]`` of ``n_rows``; none of others.

        Args:
            rows: int64 ``(n_items,)``, each once.
            n_rows: of the catalogue.
        """
        if len(rows) == n_rows and np.array_equal(rows, np.arange(n_rows)):
            return self
        counts = self.counts.tocoo()
        before, after = counts.coords
        placed = sp.coo_array((counts.data, (rows[before], rows[after])), shape=(n_rows, n_rows))
        return replace(self, counts=placed.tocsr())

    def chosen(
        self,
        score: Callable[[Transitions], float],
        similarity: sp.csr_array[np.float32] | None = None,
    ) -> Transitions:
        """The same counts with the weights that score best.

        They are tuned one after the other: ``seen``, ``like``, ``decay``, ``weight``. Of equal
        scores the earlier one is kept.

        Args:
            score: of transitions on validation cases; higher is better.
            similarity: from `similarity_of`; None where items have no content.
        """
        tries: list[Callable[[Transitions], Transitions]] = [
            lambda best: best,
            partial(replace, seen=0.0),
        ]
        if similarity is not None:
            tries += [partial(Transitions.with_like, similarity=similarity, like=v) for v in _LIKES]
        tries += [partial(replace, decay=decay) for decay in _DECAYS[1:]]
        tries += [partial(replace, weight=weight) for weight in _WEIGHTS]
        best, highest = self, -np.inf
        with counting("transitions: strengths", len(tries)) as counter:
            for change in tries:
                one = change(best)
                reached = score(one)
                if reached > highest:
                    best, highest = one, reached
                counter.advance(1)
        return best

    def save(self, path: Path, about: Mapping[str, str]) -> None:
        """Write one safetensors file, with ``about`` beside what `load` needs."""
        write_tensors(
            path,
            {
                "counts": torch.from_numpy(self.counts.data),
                "items": torch.from_numpy(self.counts.indices.astype(np.int32)),
                "offsets": torch.from_numpy(self.counts.indptr.astype(np.int64)),
            },
            {**about, **{name: repr(value) for name, value in self.strength.items()}},
        )

    @classmethod
    def load(cls, path: Path) -> Transitions:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        tensors, about = read_tensors(path)
        with reading(path):
            counts, items, offsets = (tensors[n].numpy() for n in ("counts", "items", "offsets"))
            n_items = len(offsets) - 1
            if counts.dtype != np.float32 or {items.dtype.kind, offsets.dtype.kind} != {"i"}:
                raise TypeError(f"counts are {counts.dtype}, items {items.dtype}")
            table = sp.csr_array((counts, items, offsets), shape=(n_items, n_items))
            table.check_format(full_check=True)  # SciPy follows wrong indices out of the memory
            if not np.isfinite(counts).all():
                raise ValueError("a count is not finite")
            known = {name: float(about[name]) for name in _STRENGTHS if name in about}
        return cls(table, **known)  # runs made before `seen` was chosen lack it


def retrieved(
    transitions: Transitions | None, histories: Tensor, seen: Tensor | None = None
) -> Retrieved | None:
    """The items retrieved for histories (see `Transitions.retrieve`); None without transitions, or
    where they have no weight.
    """
    if transitions is None or not transitions.weight:
        return None
    return transitions.retrieve(histories, seen)


def similarity_of(
    content: NDArray[np.float32], order: NDArray[np.integer]
) -> sp.csr_array[np.float32]:
    """float32 ``(n_items, n_items)``: weights of the items similar to the row's, one in sum."""
    return as_matrix(similar_items(content, order, _SOFTNESS), len(content))


def _largest(matrix: sp.csr_array[np.float32], n: int) -> sp.csr_array[np.float32]:
    """The ``n`` largest entries of each row."""
    lengths = np.diff(matrix.indptr)
    if lengths.max(initial=0) <= n:
        return matrix
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    rank = np.arange(len(order)) - matrix.indptr[row]
    kept = np.sort(order[rank < n])
    data = (matrix.data[kept], (row[kept], matrix.indices[kept]))
    return sp.coo_array(data, shape=matrix.shape).tocsr()


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
