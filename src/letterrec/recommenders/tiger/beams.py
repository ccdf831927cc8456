"""How beam search asks tiger for the next codes: histories encoded once, the beams beside them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.identifiers.identifiers import PAD_TOKEN
from letterrec.nn.t5 import Attention, additive
from letterrec.recommenders.tiger.network import Network

_TOGETHER = 16  # histories decoded at a time on a processor


class Beams:
    """A `beam_search.Decoder`: histories encoded once, and the state of their beams.

    Histories of similar length go together, a few at a time: the longest of the batch does not set
    the cost of all, and what a processor works on stays in its caches.

    Args:
        network: that scores.
        tokens: int64 ``(batch, s)`` histories, as `spelling.spell` makes them.
        behaviours: int64 ``(batch,)`` that are asked for, where they are told apart; for -1 the
            likeliest of the targets is predicted.
    """

    over_legal = False
    wish_effect: None = None
    retrieved: None = None

    def __init__(self, network: Network, tokens: Tensor, behaviours: Tensor | None = None) -> None:
        together = _TOGETHER if tokens.device.type == "cpu" else len(tokens)
        lengths = (tokens != PAD_TOKEN).sum(1)
        order = lengths.argsort(stable=True)
        self._rows = torch.split(order, together)
        self._back = order.argsort()
        self._groups = [
            _Group(
                network,
                tokens[r, : int(lengths[r].max())],
                None if behaviours is None else behaviours[r],
            )
            for r in self._rows
        ]

    def limit(self, allowed: Tensor) -> None:
        """Nothing: no items are retrieved."""

    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(batch, beams, codes of this level)``, normalised over all tokens."""
        return torch.cat([group.log_probs() for group in self._groups])[self._back]

    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Append ``codes`` to the beams ``parents``, both int64 ``(batch, beams)``."""
        for rows, group in zip(self._rows, self._groups, strict=True):
            group.advance(parents[rows], codes[rows])


class _Group:
    """Some histories: what the decoder attends to in them, and the beams so far.

    The keys and values of a history are made once and serve all of its beams, which stand side by
    side on the query axis. Those of the beams' own codes stay where they were made; each beam knows
    its ancestors.
    """

    @torch.no_grad()
    def __init__(self, network: Network, tokens: Tensor, behaviours: Tensor | None) -> None:
        self._network = network
        self._level = 0
        self._blocks = network.decoder.blocks
        present = tokens != PAD_TOKEN
        self._mask = None if bool(present.all()) else additive(present)
        states = network.encoder(network.shared(tokens), self._mask)
        attentions = [block.cross.EncDecAttention for block in self._blocks]
        self._source = [(a.split(a.k(states)), a.split(a.v(states))) for a in attentions]
        n_places = len(network.sizes) + (behaviours is not None)
        self._bias = network.decoder.position_bias(n_places)  # (h, t, t)
        # Per layer and level, keys and values (b, beams of the level, h, e).
        self._past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self._blocks]
        # Per token behind the start, rows (b, beams) of the ancestors there.
        self._ancestors: list[Tensor] = []
        self._state = self._step(tokens.new_full((len(tokens), 1), PAD_TOKEN))
        if behaviours is not None:
            self._extend(
                torch.zeros_like(behaviours)[:, None], self._behaviours(behaviours)[:, None]
            )

    @torch.no_grad()
    def log_probs(self) -> Tensor:
        """float32 ``(b, beams, codes of this level)``."""
        logits = self._network.tokens_of(self._state).float()
        first = self._network.level_offsets[self._level]
        codes = logits[..., first : first + self._network.sizes[self._level]]
        return codes - logits.logsumexp(-1, keepdim=True)

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Append ``codes`` to the beams ``parents``, both int64 ``(b, beams)``."""
        tokens = codes + self._network.level_offsets[self._level]
        self._level += 1
        self._extend(parents, tokens)

    def _behaviours(self, behaviours: Tensor) -> Tensor:
        """int64 ``(b,)`` tokens of the behaviours asked for, or, where -1, of the likeliest of the
        targets.
        """
        network = self._network
        tokens = network.first_behaviour + torch.tensor(network.targets, device=behaviours.device)
        likeliest = tokens[network.tokens_of(self._state[:, 0])[:, tokens].argmax(1)]
        return torch.where(behaviours < 0, likeliest, network.first_behaviour + behaviours)

    def _extend(self, parents: Tensor, tokens: Tensor) -> None:
        """Append ``tokens`` to the beams ``parents``, both int64 ``(b, beams)``."""
        first = torch.arange(len(parents), device=parents.device)[:, None] * self._state.shape[1]
        self._ancestors = [rows.gather(1, parents) for rows in self._ancestors]
        self._ancestors.append(first + parents)
        self._state = self._step(tokens)

    def _step(self, tokens: Tensor) -> Tensor:
        """States ``(b, beams, d)`` after one more token ``(b, beams)`` of each beam."""
        x = self._network.shared(tokens)
        for block, (keys, values), past in zip(self._blocks, self._source, self._past, strict=True):
            x = x + self._attend_to_codes(block.own.SelfAttention, block.own.layer_norm(x), past)
            cross = block.cross.EncDecAttention
            queries = cross.split(cross.q(block.cross.layer_norm(x)))  # (b, h, beams, e)
            attended = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=self._mask, scale=1.0
            )
            x = x + cross.o(attended.transpose(1, 2).flatten(2))
            x = block.feed_forward(x)
        state: Tensor = self._network.decoder.final_layer_norm(x)
        return state

    def _attend_to_codes(
        self, attention: Attention, x: Tensor, past: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Each beam's attention to its own few codes, as sums instead of many tiny products."""
        shape = (*x.shape[:2], attention.heads, attention.head_dim)
        queries = attention.q(x).view(shape)
        past.append((attention.k(x).view(shape), attention.v(x).view(shape)))
        along = [
            (_of_ancestors(keys, rows), _of_ancestors(values, rows))
            for (keys, values), rows in zip(past, self._ancestors, strict=False)
        ]
        along.append(past[-1])
        scores = torch.stack([(queries * keys).sum(-1) for keys, _ in along])  # (t, b, beams, h)
        bias = self._bias[:, len(along) - 1, : len(along)].T  # (t, h)
        weights = scores.add_(bias[:, None, None]).softmax(0)[..., None]
        attended = weights[0] * along[0][1]
        for weight, (_, values) in zip(weights[1:], along[1:], strict=True):
            attended.addcmul_(weight, values)
        out: Tensor = attention.o(attended.flatten(2))
        return out


def _of_ancestors(x: Tensor, rows: Tensor) -> Tensor:
    """Select for each current beam the cached state of its parent; a single one is broadcast.

    Shapes: ``(b, beams then, h, e)`` -> ``(b, beams now, h, e)``.
    """
    if x.shape[1] == 1:
        return x
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, *x.shape[2:])
