"""P5's identifiers: trees of categories (P5-SemID) and of items used together (P5-CID).

After "How to Index Item IDs for Recommendation Foundation Models" (SIGIR-AP'23), whose third way,
titles (P5-TID), is `identifiers.titles`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.errors import RunError, SettingsError
from letterrec.tokenizers.base import Codes, Items
from letterrec.tokenizers.spectral import cluster_tree
from letterrec.tokenizers.tree import Grown, TreeTokenizer

_PATHS = 0.75


class CategoryTokenizer(TreeTokenizer):
    """P5-SemID: a code for each of an item's categories, the widest first, then its number.

    A category has the same code wherever it stands at its level. Levels at the top that are the
    same for all items are left out.

    Args:
        levels: codes per identifier at most, the number among them: narrower categories are not
            read.
        order: ``"given"``: the data name the widest category first; ``"frequency"``: they do not
            say which is wider, and those of more items come first; ``"auto"``: which of the two
            it is, by `are_paths`.
    """

    name = "p5-semid"
    reads = frozenset({"categories"})

    def __init__(self, *, levels: int = 5, order: str = "auto") -> None:
        super().__init__()
        self._levels, self._order = levels, order
        self._above = 0  # levels that all items share
        self._frequency: dict[str, int] = {}
        self._codes: list[dict[str, int]] = []  # per level: category -> code

    @property
    def settings(self) -> dict[str, Any]:
        """The keywords that it was made with."""
        return {"levels": self._levels, "order": self._order}

    def _grow(self, items: Items) -> Grown:
        if items.categories is None:
            raise SettingsError(
                "the tokenizer 'p5-semid' needs the items' categories, and there are none; "
                "give them, or take another tokenizer"
            )
        is_set = self._order == "auto" and not are_paths(items.categories)
        self._frequency = {}
        if is_set or self._order == "frequency":
            self._frequency = dict(Counter(name for path in items.categories for name in set(path)))
        self._above, self._codes = 0, []
        paths = [self._ordered(path) for path in items.categories]
        while paths[0][self._above :] and len({path[: self._above + 1] for path in paths}) == 1:
            self._above += 1
        depth = min(self._levels - 1, max(map(len, paths)) - self._above)
        for level in range(self._above, self._above + depth):
            names = sorted({path[level] for path in paths if len(path) > level})
            self._codes.append({name: code for code, name in enumerate(names)})
        return Grown(self._located(paths), tuple(len(codes) + 1 for codes in self._codes))

    def _paths_of(self, items: Items) -> Codes | None:
        if items.categories is None:
            return None
        return self._located([self._ordered(path) for path in items.categories])

    def _ordered(self, path: Sequence[str]) -> tuple[str, ...]:
        """The categories of an item, the widest first."""
        if not self._frequency:
            return tuple(path)
        return tuple(sorted(path, key=lambda name: (-self._frequency.get(name, 0), name)))

    def _located(self, paths: Sequence[tuple[str, ...]]) -> Codes:
        """int32 ``(n, depth)``: codes of categories; the last of a level, where there is none or
        one that is not known, and from there on.
        """
        located = np.empty((len(paths), len(self._codes)), dtype=np.int32)
        located[:] = [len(codes) for codes in self._codes]
        for row, path in enumerate(paths):
            for level, (codes, name) in enumerate(
                zip(self._codes, path[self._above :], strict=False)
            ):
                if name not in codes:
                    break
                located[row, level] = codes[name]
        return located

    def _state(self) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        about = {"above": self._above, "codes": self._codes, "frequency": self._frequency}
        return {}, about

    def _restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self._above, self._codes = about["above"], about["codes"]
        self._frequency = about["frequency"]


def are_paths(categories: Sequence[Sequence[str]]) -> bool:
    """Whether each category mostly has the same one before it, as in a path and not in a set.

    Mostly: over 3 in 4 of all that have one. Of Amazon's Beauty it is .95, of Yelp .24.

    >>> are_paths([("a", "b", "c"), ("a", "b", "d")])
    True
    >>> are_paths([("a", "b"), ("b", "a"), ("c", "b")])
    False
    """
    pairs = Counter(pair for path in categories for pair in pairwise(path))
    most: dict[str, int] = {}
    for (_, name), count in pairs.items():
        most[name] = max(count, most.get(name, 0))
    return sum(most.values()) > _PATHS * pairs.total() or not pairs


class CooccurrenceTokenizer(TreeTokenizer):
    """P5-CID: items that are used together share clusters, which are divided again and again.

    The co-occurrence graph of the training interactions falls into spectral clusters
    (`spectral.cluster_tree`); the clusters of a level are numbered through. P5's code numbers them
    modulo the size of its vocabulary instead, so that clusters that have nothing to do with each
    other share tokens.

    Args:
        clusters: parts that a group is divided into.
        leaf: items of a group, at most, that are numbered instead.
    """

    name = "p5-cid"
    reads = frozenset({"cooccurrence"})

    def __init__(self, *, clusters: int = 20, leaf: int = 100) -> None:
        super().__init__()
        self._clusters, self._leaf = clusters, leaf
        self._fitted_paths: NDArray[np.int32] = np.zeros((0, 0), dtype=np.int32)

    @property
    def settings(self) -> dict[str, Any]:
        """The keywords that it was made with."""
        return {"clusters": self._clusters, "leaf": self._leaf}

    def _grow(self, items: Items) -> Grown:
        if items.cooccurrence is None:
            raise SettingsError(
                "the tokenizer 'p5-cid' needs the items' co-occurrence graph, and there is none; "
                "give it (embeddings.cooccurrence), or take another tokenizer"
            )
        levels = cluster_tree(items.cooccurrence, self._clusters, self._leaf)
        paths = np.empty((len(items), len(levels)), dtype=np.int32)
        sizes = []
        for place, level in enumerate(levels):
            n = int(level.max()) + 1
            paths[:, place] = np.where(level < 0, n, level)
            sizes.append(n + bool((level < 0).any()))
        self._fitted_paths = paths
        return Grown(paths, tuple(sizes))

    def _paths_of(self, items: Items) -> Codes | None:
        if items.cooccurrence is None:
            return None
        if len(items) != len(self._fitted_paths):
            raise RunError(
                f"a co-occurrence graph of {len(items)} items; the tokenizer was fitted to that of "
                f"{len(self._fitted_paths)}: leave it out for new items"
            )
        return self._fitted_paths

    def _state(self) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        return {"fitted_paths": torch.from_numpy(self._fitted_paths)}, {}

    def _restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self._fitted_paths = tensors["fitted_paths"].numpy()
