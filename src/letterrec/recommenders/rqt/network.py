"""The network of rqt: embeddings of items and codes, a transformer over items, one over codes.

Shapes: ``dim`` is the width of all states; an event is an item with its behaviour, where there are
several (`nn.behaviours`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.identifiers.identifiers import Identifiers
from letterrec.nn.behaviours import BehaviourInputs, NextBehaviour, items_of
from letterrec.nn.causal import CausalBlock
from letterrec.nn.dropout import Dropout

SOFTMAX_ITEMS = 100_000  # the largest catalogue with a softmax over its items


class Network(nn.Module):
    """Turns histories into states, and states into scores of items and of codes.

    Args:
        identifiers: the code sequence of every item.
        content: float32 ``(n_items, d_content)`` embeddings added to the items; None adds none.
        max_history: latest items of a history that are read.
        dim: width of states and embeddings.
        layers: transformer layers over the history.
        heads: attention heads.
        depth_layers: residual blocks per level of the code decoder.
        dropout: of embeddings, attention and blocks; also the share of item embeddings dropped.
        item_embedding: whether items have a learned embedding of their own.
        item_softmax: whether states are also compared with all items, where these are not too many.
        n_behaviours: kinds of interactions; see `nn.behaviours`.
        targets: rows of the behaviours that are to be predicted; empty: all.
        next_behaviour: whether the behaviour by which the next item comes is predicted, where there
            are several.
    """

    tokens: Tensor  # int64 (n_items, n_levels): rows of the code embeddings, 0 for no code
    targets: Tensor  # int64 (n_items, n_levels): the codes themselves, -1 for no code
    content: Tensor | None
    gone: Tensor  # int64 (n,): rows of items that are there no more
    taken_once: Tensor  # whether the softmax over items leaves out those of the history

    def __init__(
        self,
        identifiers: Identifiers,
        content: Tensor | None,
        *,
        max_history: int,
        dim: int,
        layers: int,
        heads: int,
        depth_layers: int,
        dropout: float,
        item_embedding: bool,
        item_softmax: bool,
        n_behaviours: int,
        targets: tuple[int, ...],
        next_behaviour: bool = False,
    ) -> None:
        super().__init__()
        self.max_history = max_history
        self.sizes = identifiers.sizes
        self.drop = Dropout(dropout)
        # One table for the codes of all levels; row 0 stands for "no code".
        self.code_embedding = nn.Embedding(1 + sum(self.sizes), dim, padding_idx=0)
        self.prefix_embedding = nn.Embedding(1 + sum(self.sizes), dim, padding_idx=0)
        self.position_embedding = nn.Embedding(max_history, dim)
        is_large = identifiers.n_items > SOFTMAX_ITEMS  # a batch touches few rows of the table
        own = nn.Embedding(identifiers.n_items, dim, sparse=is_large) if item_embedding else None
        self.item_embedding = own
        self.content_projection = None if content is None else nn.Linear(content.shape[1], dim)
        self.body = nn.ModuleList(CausalBlock(dim, heads, dropout) for _ in range(layers))
        self.body_norm = nn.LayerNorm(dim)
        self.depth = nn.ModuleList(
            _LevelBlocks(len(self.sizes), dim, dropout) for _ in range(depth_layers)
        )
        self.depth_norm = nn.LayerNorm(dim)
        self.output_bias = nn.Parameter(torch.zeros(sum(self.sizes)))
        has_softmax = item_softmax and not is_large
        self.item_query = nn.Linear(dim, dim) if has_softmax else None
        if has_softmax:
            self.register_buffer("taken_once", torch.tensor(False))
        for table in self.modules():
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=0.02)
                if table.padding_idx is not None:
                    table.weight.data[table.padding_idx].zero_()
        self.n_behaviours = n_behaviours
        self.behaviours = BehaviourInputs(n_behaviours, targets, dim) if n_behaviours > 1 else None
        has_head = n_behaviours > 1 and next_behaviour
        self.next_behaviour = NextBehaviour(n_behaviours, dim) if has_head else None
        self.set_items(identifiers, content)

    def set_items(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        absent: NDArray[np.int64] | None = None,
    ) -> None:
        """Read items by these identifiers and contents; the same items, or more behind them.

        Items beyond those trained on have no item embedding; their codes and content speak.
        """
        offsets = torch.tensor([1, *self.sizes[:-1]]).cumsum(0)
        codes = torch.as_tensor(identifiers.codes, dtype=torch.long)
        tokens = torch.where(codes < 0, 0, codes + offsets)
        device = self.output_bias.device
        kept = None if self.content_projection is None or content is None else content.to(device)
        self.register_buffer("content", kept, persistent=False)  # before what names more rows
        self.register_buffer("tokens", tokens.to(device), persistent=False)
        self.register_buffer("targets", codes.to(device), persistent=False)
        gone = torch.as_tensor([] if absent is None else absent, dtype=torch.long)
        self.register_buffer("gone", gone.to(device), persistent=False)

    def items(self) -> Tensor:
        """What stands for each item in the softmax over items: ``(n_items, dim)``."""
        return self._item_inputs(torch.arange(len(self.tokens), device=self.tokens.device))

    def read(self, events: Tensor, following: Tensor | None = None) -> Tensor:
        """Item rows, or events, ``(batch, longest)`` -> hidden states ``(batch, longest, dim)``."""
        state = self._embed(events, following)
        for block in self.body:
            state = block(state)
        return cast(Tensor, self.body_norm(state))

    def targets_of(self, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Each item that follows others, of groups of sequences.

        Args:
            groups: int64 ``(sequences, longest)`` item rows, or events, each, left-aligned, ``-1``
                after the end.

        Returns:
            Hidden states ``(n, dim)`` before it, its row ``(n,)``, and the rows of those read
            before it ``(n, longest - 1)``, -1 padded.
        """
        return self.targets_in(groups, [self.states_before(events) for events in groups])

    def targets_in(
        self, groups: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same, of groups whose `states_before` are known."""
        parts = [self._following(*part) for part in zip(groups, states, strict=True)]
        hidden, following = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        longest = max(part[2].shape[1] for part in parts)
        read = [F.pad(r, (0, longest - r.shape[1]), value=-1) for _, _, r in parts]
        return hidden, following, torch.cat(read)

    def states_before(self, events: Tensor) -> Tensor:
        """Hidden states ``(sequences, longest - 1, dim)`` before all events but the first, ``-1``
        padded ``(sequences, longest)``.
        """
        following = None
        if self.behaviours is not None:
            following = self.behaviours.between(events, dropping=self.training)
        return self.read(events[:, :-1], following)

    def behaviour_logits(self, events: Tensor, states: Tensor) -> Tensor:
        """Logits ``(batch, longest, n_behaviours)`` of the behaviour after each event, where it is
        predicted.

        Args:
            events: int64 ``(batch, longest)``, -1 padded.
            states: float ``(batch, longest, dim)`` after each of them.
        """
        assert self.behaviours is not None
        assert self.next_behaviour is not None
        items = items_of(events, self.n_behaviours).clamp_min(0)
        came_by = self.behaviours.had(events.remainder(self.n_behaviours))
        return cast(Tensor, self.next_behaviour(states, self._item_inputs(items) + came_by))

    def _following(self, events: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The targets of one group."""
        items = items_of(events, self.n_behaviours)
        is_target = items[:, 1:] >= 0
        steps = torch.arange(items.shape[1] - 1, device=items.device)
        read = items[:, None, :-1].expand(-1, len(steps), -1)  # (sequences, longest - 1, same)
        read = read.masked_fill(steps > steps[:, None], -1)
        return states[is_target], items[:, 1:][is_target], read[is_target]

    def latest(
        self, histories: Tensor, behaviours: Tensor | None, inputs: Tensor | None = None
    ) -> Tensor:
        """Hidden states ``(batch, dim)`` after item rows, or events, ``(batch, longest)``.

        Args:
            histories: left-aligned, -1 after the end.
            behaviours: int64 ``(batch,)`` that are asked for; -1, or None: the targets.
            inputs: of `items`, where they are known.
        """
        lengths = (histories >= 0).sum(1)
        wanted = None if self.behaviours is None else self.behaviours.wanted(histories, behaviours)
        state = self._embed(histories, wanted, inputs)  # (batch, longest, dim)
        for block in self.body[:-1]:
            state = block(state)
        last = cast(CausalBlock, self.body[-1])
        latest = last.at(state, (lengths - 1).clamp_min(0))  # (batch, dim)
        return cast(Tensor, self.body_norm(latest))

    def descend(self, state: Tensor, level: int) -> Tensor:
        """Hidden states plus prefixes ``(..., dim)`` -> states to score the level's codes with."""
        for block in self.depth:
            state = block(state, level)
        return cast(Tensor, self.drop(self.depth_norm(state)))

    def code_logits(self, state: Tensor, level: int) -> Tensor:
        """States ``(..., dim)`` of `descend` -> logits ``(..., codes of the level)``."""
        start = sum(self.sizes[:level])
        stop = start + self.sizes[level]
        weight = self.code_embedding.weight[1 + start : 1 + stop]
        return F.linear(state, weight, self.output_bias[start:stop])

    def _embed(
        self, events: Tensor, following: Tensor | None, inputs: Tensor | None = None
    ) -> Tensor:
        """Item rows, or events with the behaviour that follows each, ``(batch, longest)`` -> inputs
        ``(batch, longest, dim)``; ``inputs`` as of `latest`.
        """
        items = items_of(events, self.n_behaviours).clamp_min(0)
        if inputs is None or self.training:
            state = self._item_inputs(items, self.training)  # (batch, longest, dim)
        else:
            state = F.embedding(items, inputs)
        state = state + self.position_embedding.weight[: items.shape[1]]
        if self.behaviours is not None and following is not None:
            state = state + self.behaviours(events, following)
        return cast(Tensor, self.drop(state))

    def _item_inputs(self, rows: Tensor, dropping: bool = False) -> Tensor:
        """Item rows of any shape -> codes, content and item embeddings, added: ``(..., dim)``.

        Where they are ``dropping``, a share of the item embeddings is left out at random.
        """
        state = self.code_embedding(self.tokens[rows]).sum(-2)  # (..., dim)
        if self.content_projection is not None and self.content is not None:
            state = state + self.content_projection(self.content[rows])
        if self.item_embedding is not None:
            own = self.item_embedding(rows.clamp_max(self.item_embedding.num_embeddings - 1))
            known = rows < self.item_embedding.num_embeddings
            if dropping:
                known = known & (torch.rand(rows.shape, device=rows.device) >= self.drop.p)
            state = state + own * known[..., None]
        return cast(Tensor, state)


class _LevelBlocks(nn.Module):
    """A residual MLP with weights of its own for each level."""

    def __init__(self, levels: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Parameter(torch.randn(levels, dim, 2 * dim) * dim**-0.5)
        self.up_bias = nn.Parameter(torch.zeros(levels, 2 * dim))
        self.down = nn.Parameter(torch.randn(levels, 2 * dim, dim) * 0.5 * dim**-0.5)
        self.drop = Dropout(dropout)

    def forward(self, state: Tensor, level: int) -> Tensor:
        """States ``(..., dim)`` of one level -> the same shape."""
        inner = F.gelu(self.norm(state) @ self.up[level] + self.up_bias[level])
        return torch.add(state, self.drop(inner @ self.down[level]))
