"""The trie of identifiers as flat tensors: which codes are legal after a prefix, and which items
they lead to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.errors import IdentifierError
from letterrec.identifiers.identifiers import Identifiers


@dataclass(frozen=True, eq=False)
class Trie:
    """All prefixes of the identifiers, numbered level by level in lexicographic order.

    The node at level 0 is the empty prefix, the nodes at level ``n_levels`` are the identifiers.
    The children of a node are neighbours, and so are the items below it in `items`. A shorter
    identifier goes on to the last level through single children whose code is -1.

    Attributes:
        items: int32 ``(n_items,)`` item rows in the order of their identifiers; items that share
            one are sorted by descending popularity, then by row.
        position: int32 ``(n_items,)`` where each item row stands in ``items``.
        codes: per level an int16 or int32 tensor ``(n_nodes,)``, the last code of the nodes at
            that level; -1 at the root and after the end of a shorter identifier.
        first_child: per level but the last, int32 ``(n_nodes + 1,)``: the children of node ``n``
            are the next level's nodes ``first_child[n]:first_child[n + 1]``.
        first_item: per level, int32 ``(n_nodes + 1,)``: the items below node ``n`` are
            ``items[first_item[n]:first_item[n + 1]]``.
        widths: per level but the last, the most children that a node has.
        tables: per level but the last, int32 ``(n_nodes, codes of the level)`` with the child that
            each code leads to, -1 where none; None where that would be large or mostly empty.
        most_sharing: the most items that share one identifier.
        has_shorter: whether identifiers differ in length.
    """

    items: Tensor
    position: Tensor
    codes: tuple[Tensor, ...]
    first_child: tuple[Tensor, ...]
    first_item: tuple[Tensor, ...]
    widths: tuple[int, ...]
    tables: tuple[Tensor | None, ...]
    most_sharing: int
    has_shorter: bool

    @classmethod
    def build(cls, identifiers: Identifiers, popularity: NDArray[np.int64] | None = None) -> Trie:
        """The trie of a catalogue, on the CPU.

        Args:
            identifiers: the code sequence of every item; none may be the beginning of another.
            popularity: int64 ``(n_items,)``: orders items that share an identifier.

        Raises:
            IdentifierError: an identifier is empty, interrupted, outside its levels' sizes, or
                the beginning of another; there are no items; ``popularity`` is of another length.
        """
        codes = identifiers.codes
        _check(identifiers, popularity)
        keys: list[NDArray[np.number]] = [] if popularity is None else [-popularity]
        keys += [codes[:, level] for level in reversed(range(identifiers.n_levels))]
        order = np.lexsort(tuple(keys)).astype(np.int32)
        n_items, n_levels = codes.shape
        starts = np.zeros(n_items, dtype=bool)  # which sorted items begin a new prefix
        starts[0] = True
        node_codes = [np.full(1, -1, dtype=np.int16)]
        first_item = [np.array([0, n_items], dtype=np.int32)]
        first_child = []
        widths = []
        tables = []
        for level in range(n_levels):
            column = codes[order, level]
            starts[1:] |= column[1:] != column[:-1]
            first = np.append(np.flatnonzero(starts), n_items).astype(np.int32)
            small = np.int16 if identifiers.sizes[level] <= 2**15 else np.int32
            node_codes.append(column[first[:-1]].astype(small))
            rank = np.append(np.cumsum(starts, dtype=np.int32) - 1, np.int32(len(first) - 1))
            children = rank[first_item[-1]]
            _check_prefixes(identifiers, order, first_item[-1], children, node_codes[-1])
            first_item.append(first)
            first_child.append(children)
            widths.append(int(np.diff(children).max()))
            tables.append(_table(children, node_codes[-1], identifiers.sizes[level]))
        position = np.empty(n_items, dtype=np.int32)
        position[order] = np.arange(n_items, dtype=np.int32)
        return cls(
            torch.from_numpy(order),
            torch.from_numpy(position),
            tuple(torch.from_numpy(c) for c in node_codes),
            tuple(torch.from_numpy(c) for c in first_child),
            tuple(torch.from_numpy(f) for f in first_item),
            tuple(widths),
            tuple(tables),
            int(np.diff(first_item[-1]).max()),
            bool((codes[:, -1] < 0).any()),
        )

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    @property
    def n_levels(self) -> int:
        """Length of the longest identifier."""
        return len(self.widths)

    def n_nodes(self, level: int) -> int:
        """Number of prefixes of ``level`` codes."""
        return len(self.codes[level])

    @cached_property
    def nodes_above(self) -> tuple[Tensor, ...]:
        """Per level int32 ``(n_items,)``: the node above each position in ``items``; made when it
        is first asked for.
        """
        return tuple(
            torch.repeat_interleave(first.diff()).to(torch.int32) for first in self.first_item
        )

    def prefixes(self) -> Tensor:
        """int64 ``(n_items, n_levels)``: the node of each item's prefix at each level, from the
        root on; the item's next code is one of those that may follow this node.
        """
        above = [gather(nodes, self.position) for nodes in self.nodes_above[:-1]]
        return torch.stack(above, 1).to(torch.int64)

    def n_children(self, level: int, nodes: Tensor) -> Tensor:
        """int32, the shape of ``nodes``: how many codes are legal after each node of a level."""
        first = self.first_child[level]
        return gather(first, nodes + 1) - gather(first, nodes)

    def legal(self, level: int, nodes: Tensor, size: int) -> Tensor:
        """bool ``(n, size)``: which of the level's codes may follow nodes int64 ``(n,)``."""
        table = self.tables[level]
        if table is not None:
            return table[nodes] >= 0
        steps = torch.arange(self.widths[level], device=nodes.device)
        children = self.first_child[level][nodes][:, None] + steps  # (n, width)
        inside = children < self.first_child[level][nodes + 1][:, None]
        codes = self.codes[level + 1][children.clamp(max=self.n_nodes(level + 1) - 1)].long()
        mask = torch.zeros((len(nodes), size + 1), dtype=torch.bool, device=nodes.device)
        mask.scatter_(1, torch.where(inside & (codes >= 0), codes, size), True)
        return mask[:, :size]

    def to(self, device: torch.device | str) -> Trie:
        """The same trie on another device."""
        return Trie(
            self.items.to(device),
            self.position.to(device),
            tuple(t.to(device) for t in self.codes),
            tuple(t.to(device) for t in self.first_child),
            tuple(t.to(device) for t in self.first_item),
            self.widths,
            tuple(t if t is None else t.to(device) for t in self.tables),
            self.most_sharing,
            self.has_shorter,
        )


def gather(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]`` for a flat table and an integer index of any shape."""
    return table.index_select(0, index.reshape(-1)).view(index.shape)


def _table(
    first_child: NDArray[np.int32], codes: NDArray[np.signedinteger], size: int
) -> Tensor | None:
    """The child of each node by code; None if large and less than an eighth of it is used."""
    n_nodes = len(first_child) - 1
    if codes.min() < 0 or n_nodes * size > max(8 * len(codes), 2**16):
        return None
    table = np.full((n_nodes, size), -1, dtype=np.int32)
    parents = np.repeat(np.arange(n_nodes), np.diff(first_child))
    table[parents, codes] = np.arange(len(codes), dtype=np.int32)
    return torch.from_numpy(table)


def _check(identifiers: Identifiers, popularity: NDArray[np.int64] | None) -> None:
    codes = identifiers.codes
    if codes.shape[0] == 0 or codes.shape[1] == 0:
        raise IdentifierError(
            f"identifiers of shape {codes.shape}: expected at least one item and one level; "
            "check that the catalogue is not empty"
        )
    if popularity is not None and popularity.shape != (identifiers.n_items,):
        raise IdentifierError(
            f"popularity of shape {popularity.shape} for {identifiers.n_items} items: "
            "expected one count per item; make both from the same catalogue"
        )
    for level, size in enumerate(identifiers.sizes):
        column = codes[:, level]
        wrong = (column < -1) | (column >= size)
        if wrong.any():
            item = int(wrong.argmax())
            raise IdentifierError(
                f"item row {item} has code {column[item]} at level {level}: expected 0 to "
                f"{size - 1}; make the identifiers anew or declare the sizes they were made with"
            )
        gap = (column >= 0) & (codes[:, level - 1] < 0) if level else column < 0
        if gap.any():
            item = int(gap.argmax())
            raise IdentifierError(
                f"item row {item} has the identifier {codes[item].tolist()}: expected codes and "
                "then -1 to the end, at least one code; make the identifiers anew"
            )


def _check_prefixes(
    identifiers: Identifiers,
    order: NDArray[np.int32],
    first_item: NDArray[np.int32],
    first_child: NDArray[np.int32],
    child_codes: NDArray[np.signedinteger],
) -> None:
    """Refuse identifiers that are prefixes of others: an end sorts first among its siblings."""
    ends = child_codes[first_child[:-1]] < 0
    both = ends & (np.diff(first_child) > 1)
    if both.any():
        start, stop = first_item[:-1][both][0], first_item[1:][both][0]
        shorter, longer = int(order[start]), int(order[stop - 1])
        raise IdentifierError(
            f"the identifier {identifiers.spelled(shorter)} of item row {shorter} is the beginning "
            f"of {identifiers.spelled(longer)} of item row {longer}: expected none to begin "
            "another; give both the same length or another code"
        )
