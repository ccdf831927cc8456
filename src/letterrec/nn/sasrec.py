"""SASRec: a causal transformer over items, trained with the softmax over the whole catalogue.

"Self-Attentive Sequential Recommendation" (ICDM'18), with full cross-entropy in place of sampled
negatives; in catalogues of more than 50,000 items with that of `sampled`. It gives the CF
embeddings of the paper (section 4.2.2), and ranks items itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.errors import DataError, RunError, SettingsError
from letterrec.files import fingerprint
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.nn.behaviours import BehaviourInputs, items_of
from letterrec.nn.causal import CausalBlock
from letterrec.nn.dropout import Dropout
from letterrec.nn.sampled import sampled_loss

FULL_SOFTMAX_ITEMS = 50_000  # beyond, training samples the softmax and touches a batch's items
_EARLIER_NAMES = {  # of a block's layers -> the present ones
    ".attention_norm.": ".norm_attention.",
    ".queries_keys_values.": ".query_key_value.",
    ".attended.": ".output.",
    ".feed_forward.0.": ".norm_mlp.",
    ".feed_forward.1.": ".mlp.0.",
    ".feed_forward.3.": ".mlp.2.",
}
_CHUNK_LOGITS = 2**21  # logits at a time: they stay in the processor's cache
_DEVICE_LOGITS = 2**27  # the same on an accelerator: a GiB with their shares


class SASRec(nn.Module):
    """A causal transformer over items whose output scores every item by a dot product.

    Learned positions; the item embeddings are input and output weights alike.

    Args:
        n_items: items in the catalogue.
        dim: width of items, positions and blocks.
        layers: transformer blocks.
        heads: attention heads; must divide ``dim``.
        dropout: of embeddings, attention and block outputs.
        max_history: latest items of a history that are read.
        norm_first: whether blocks read normalized states, and the states are normalized at the
            end; or else inputs are, and what blocks add up, and weights start small, as in
            RecBole's SASRec.
        n_behaviours: kinds of interactions. Of more than one, histories are of events
            (`nn.behaviours`), and what is scored is the next item of a target behaviour.
        targets: rows of the target behaviours; empty: all.

    Raises:
        SettingsError: ``heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        *,
        n_items: int,
        dim: int = 32,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.3,
        max_history: int = 20,
        norm_first: bool = True,
        n_behaviours: int = 1,
        targets: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if dim % heads:
            raise SettingsError(
                f"collaborative.dim = {dim} is not a multiple of collaborative.heads = {heads}; "
                "change one of them"
            )
        self.settings: dict[str, Any] = {
            "n_items": n_items,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "dropout": dropout,
            "max_history": max_history,
            "norm_first": norm_first,
        }
        if n_behaviours > 1:
            self.settings |= {"n_behaviours": n_behaviours, "targets": list(targets)}
        self.max_history = max_history
        self.norm_first = norm_first
        self.items = nn.Embedding(n_items, dim, sparse=n_items > FULL_SOFTMAX_ITEMS)
        self.positions = nn.Embedding(max_history, dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            CausalBlock(dim, heads, dropout, norm_first=norm_first) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        if not norm_first:
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=0.02)
                    nn.init.zeros_(layer.bias)
        self.n_behaviours = n_behaviours
        self.behaviours = (
            BehaviourInputs(n_behaviours, tuple(targets), dim) if n_behaviours > 1 else None
        )
        self.register_buffer("popularity", torch.ones(n_items), persistent=False)
        self.register_load_state_dict_pre_hook(_rename_weights)  # type: ignore[no-untyped-call]

    def forward(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the next item over all positions that have one.

        Args:
            inputs: int64 ``(batch, length)`` item rows, or events, left-aligned, -1 after the end.
            targets: int64 ``(batch, length)`` the item, or the event, that follows each position,
                -1 for none.

        Returns:
            ``{"loss": scalar}``, in nats.
        """
        known = targets >= 0  # (batch, length)
        following = None
        if self.behaviours is not None:
            events = torch.cat([inputs[:, :1], targets], 1)
            following = self.behaviours.between(events, dropping=self.training)
            targets = items_of(targets, self.n_behaviours)
        states = self.encode(inputs, following)[known]  # (n, dim)
        if self.items.sparse:
            popularity = cast(Tensor, self.popularity)
            return {"loss": sampled_loss(states, targets[known], popularity, self.items)}
        return {"loss": full_loss(states, self.items.weight, targets[known])}

    def encode(self, histories: Tensor, following: Tensor | None = None) -> Tensor:
        """States after every position.

        Args:
            histories: int64 ``(batch, length)`` item rows, or events, left-aligned, -1 after the
                end; ``length`` at most ``max_history``.
            following: int64 ``(batch, length)`` behaviours that come next, of events; None: after
                the latest any target.

        Returns:
            float ``(batch, length, dim)``; undefined where the history is -1.
        """
        rows = items_of(histories, self.n_behaviours)
        x = self.items(rows.clamp(min=0))  # (batch, length, dim)
        positions = self.positions.weight[: histories.shape[1]]
        if self.norm_first:
            x = x * math.sqrt(self.items.embedding_dim) + positions
        else:
            x = x + positions
        if self.behaviours is not None:
            wanted = self.behaviours.wanted(histories) if following is None else following
            x = x + self.behaviours(histories, wanted)
        if not self.norm_first:
            x = self.norm(x)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.norm(x)) if self.norm_first else cast(Tensor, x)

    def latest(self, histories: Tensor) -> Tensor:
        """The state after the latest item of each history, whose product with an item is its score.

        Args:
            histories: int64 ``(batch, longest)``, as `encode` takes them.

        Returns:
            float ``(batch, dim)``; zeros for an empty history.
        """
        if histories.shape[1] == 0:
            return self.items.weight.new_zeros(len(histories), self.items.embedding_dim)
        lengths = (histories >= 0).sum(1)  # (batch,)
        states = self.encode(histories)  # (batch, longest, dim)
        last = (lengths - 1).clamp(min=0)[:, None, None]  # (batch, 1, 1)
        state = states.gather(1, last.expand(-1, 1, states.shape[2]))[:, 0]  # (batch, dim)
        return state * (lengths > 0)[:, None]

    @torch.no_grad()
    def scores(self, histories: Tensor) -> Tensor:
        """Score every item as the next one of each history.

        Args:
            histories: int64 ``(batch, longest)`` item rows, or events, left-aligned, -1 after the
                end; ``longest`` at most ``max_history``.

        Returns:
            float32 ``(batch, n_items)`` logits. An empty history scores every item 0.
        """
        return self.latest(histories).float() @ self.items.weight.float().T

    def item_embeddings(self) -> NDArray[np.float32]:
        """float32 ``(n_items, dim)``: the CF embeddings."""
        return self.items.weight.detach().float().cpu().numpy().copy()

    def use_item_embeddings(self, embeddings: NDArray[np.float32]) -> None:
        """Put other item embeddings in place of the learned ones (the paper's Table 3).

        Args:
            embeddings: float32 ``(n_items, dim)``.

        Raises:
            DataError: another shape, or values that are not finite.
        """
        expected, found = tuple(self.items.weight.shape), tuple(embeddings.shape)
        if expected != found or not np.isfinite(embeddings).all():
            raise DataError(
                f"item embeddings of shape {found} cannot replace those of SASRec; "
                f"give finite numbers of shape {expected}"
            )
        with torch.no_grad():
            self.items.weight.copy_(torch.from_numpy(embeddings))

    def save(self, path: Path, item_ids: Sequence[str]) -> None:
        """Write weights, settings and the fingerprint of the item ids as safetensors."""
        about = {"settings": self.settings, "items": fingerprint(tuple(item_ids))}
        write_tensors(path, self.state_dict(), about)

    @classmethod
    def load(cls, path: Path, item_ids: Sequence[str]) -> SASRec:
        """The module that `save` wrote, in eval mode.

        Raises:
            RunError: the file is missing, damaged, no SASRec, or made for other items.
        """
        tensors, about = read_tensors(path)
        if "settings" not in about:
            raise RunError(f"{path} holds no SASRec; give the file that SASRec.save wrote")
        if about["items"] != fingerprint(tuple(item_ids)):
            raise RunError(f"{path} was made for other items, or for another order of them")
        model = cls(**about["settings"])
        model.load_state_dict(tensors)
        return model.eval()


def _rename_weights(
    _module: nn.Module, weights: dict[str, Tensor], _prefix: str, *_: object
) -> None:
    """Give the weights of blocks that an earlier version wrote their present names."""
    for name in list(weights):
        renamed = name
        for before, now in _EARLIER_NAMES.items():
            renamed = renamed.replace(before, now)
        weights[renamed] = weights.pop(name)


def full_loss(
    states: Tensor, items: Tensor, targets: Tensor, left_out: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over the whole catalogue, without ever holding all logits.

    The softmax over ``(n, n_items)`` logits is computed some rows at a time, together with its
    gradient: on a processor few, so that the logits stay in its cache; elsewhere as many as keep
    an accelerator busy.

    Args:
        states: float ``(n, dim)``.
        items: float ``(n_items, dim)``.
        targets: int64 ``(n,)`` item rows.
        left_out: int64 ``(n, m)`` item rows that do not compete with the target of the line, -1
            padded; a target competes wherever it stands. None: all items do.

    Returns:
        float32 scalar, in nats; 0 where ``n`` is 0.
    """
    loss: Tensor = _FullCrossEntropy.apply(states, items, targets, left_out)  # type: ignore[no-untyped-call]
    return loss


def biased_loss(states: Tensor, items: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """`full_loss` where each item has a bias, float ``(n_items,)``, beside its vector."""
    ones = states.new_ones(len(states), 1)
    weights = torch.cat([items, bias[:, None]], 1)  # (n_items, dim + 1)
    return full_loss(torch.cat([states, ones], 1), weights, targets)


class _FullCrossEntropy(torch.autograd.Function):
    """`full_loss`: the forward pass already computes the gradients, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, items: Tensor, targets: Tensor, left_out: Tensor | None
    ) -> Tensor:
        kind = states.device.type
        is_cast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if is_cast else states.dtype
        with torch.autocast(kind, enabled=False):  # tensors are cast once, not in every chunk
            return _chunked(ctx, states, items, targets, left_out, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states_gradient, items_gradient = ctx.saved_tensors
        return states_gradient * gradients[0], items_gradient * gradients[0], None, None


def _chunked(
    ctx: Any,
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    left_out: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """The loss of `_FullCrossEntropy`, its products computed in ``dtype``."""
    n = len(states)
    wanted = any(ctx.needs_input_grad)
    total = torch.zeros((), device=states.device)
    states_gradient = torch.empty_like(states, dtype=torch.float32)
    items_gradient = torch.zeros_like(items, dtype=torch.float32)
    weights = items.to(dtype)
    chunk = _CHUNK_LOGITS if states.device.type == "cpu" else _DEVICE_LOGITS
    rows = max(16, chunk // len(items))
    for start in range(0, n, rows):
        part = slice(start, start + rows)
        h, target = states[part].to(dtype), targets[part, None]  # (rows, dim), (rows, 1)
        logits = h @ weights.T  # (rows, n_items)
        if left_out is not None:
            gone = left_out[part]
            row, place = ((gone >= 0) & (gone != target)).nonzero(as_tuple=True)
            logits[row, gone[row, place]] = -torch.inf
        shares = logits.softmax(1)  # (rows, n_items)
        # The largest share is exp(largest logit - logsumexp): this recovers the logsumexp.
        logsumexp = logits.amax(1).float() - shares.amax(1).float().log()  # (rows,)
        total += (logsumexp - logits.gather(1, target)[:, 0].float()).sum()
        if wanted:
            gradient = shares.scatter_add_(1, target, shares.new_full(target.shape, -1.0))
            states_gradient[part] = gradient @ weights
            items_gradient += gradient.T @ h
    scale = 1 / max(1, n)
    ctx.save_for_backward(
        states_gradient.mul_(scale).to(states.dtype), items_gradient.mul_(scale).to(items.dtype)
    )
    return total * scale
