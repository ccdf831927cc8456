"""TIGER's recommender as in the paper's LETTER-TIGER: T5 over the code tokens of the history.

`nn.t5` has the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.data.sequences import Histories
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import END_TOKEN, PAD_TOKEN, Identifiers
from letterrec.nn.t5 import Attention, Stack, additive
from letterrec.recommenders.base import Features, Recommender, check_sizes, check_trainable
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.recommenders.t5_folder import write_t5
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.loop import Rows, batches_by_length, train
from letterrec.training.options import TrainingOptions

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

_IGNORED = -100  # a target position without a token
_TOGETHER = 16  # histories decoded at a time on a processor


class Tiger(Recommender):
    """An encoder over the tokens of the latest items, a decoder over the next item's codes.

    The parameters have the names of transformers' `T5ForConditionalGeneration`; `to_transformers`
    makes one with the same weights.

    Args:
        identifiers: the code sequence of every item.
        content: taken for the sake of the seam; this recommender reads codes alone.
        max_history: latest items of a history that are read.
        dim: width of states and embeddings.
        layers: of the encoder, and of the decoder.
        heads: attention heads.
        head_dim: width of a head.
        feed_forward: inner width of the feed-forward layers.
        dropout: everywhere that T5 has it.
        temperature: tau of the ranking-guided loss (eq. 6).
        n_behaviours: kinds of interactions. Of more than one, a token of the behaviour stands
            before the codes of every item, in the history and in what is generated
            ("Multi-Behavior Generative Recommendation", MBGen, CIKM'24).
        targets: rows of the behaviours that are to be predicted; empty: all.
    """

    item_tokens: Tensor  # of each event, where behaviours are told apart

    def __init__(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        *,
        max_history: int = 20,
        dim: int = 128,
        layers: int = 4,
        heads: int = 6,
        head_dim: int = 64,
        feed_forward: int = 1024,
        dropout: float = 0.1,
        temperature: float = 1.0,
        n_behaviours: int = 1,
        targets: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.max_history = max_history
        self.n_behaviours = n_behaviours
        self.targets = targets or tuple(range(n_behaviours))
        self.first_behaviour = identifiers.n_tokens  # the tokens of behaviours are the last ones
        self.temperature = temperature
        self.sizes = identifiers.sizes
        self.level_offsets = identifiers.level_offsets
        asked = [f"<behaviour_{i}>" for i in range(n_behaviours)] if n_behaviours > 1 else []
        self._vocabulary = [*identifiers.vocabulary, *asked]
        n_tokens = identifiers.n_tokens + (n_behaviours if n_behaviours > 1 else 0)
        self.shared = nn.Embedding(n_tokens, dim)  # tied with the output, N(0, 1)
        self.encoder = Stack(dim, layers, heads, head_dim, feed_forward, dropout, cross=False)
        self.decoder = Stack(dim, layers, heads, head_dim, feed_forward, dropout, cross=True)
        self.register_buffer("item_tokens", self._tokens_of(identifiers), persistent=False)

    @classmethod
    def build(
        cls,
        identifiers: Identifiers,
        features: Features,
        trie: Trie | None = None,
        **settings: object,
    ) -> Self:
        """An untrained recommender of a catalogue."""
        make: Callable[..., Self] = cls
        n = max(1, len(features.behaviours))
        return make(identifiers, n_behaviours=n, targets=features.targets, **settings)

    def _tokens_of(self, identifiers: Identifiers) -> Tensor:
        """int64 ``(n_items, n_levels)`` tokens of each item; of several behaviours those of each
        event, ``(n_items * n_behaviours, 1 + n_levels)``, the behaviour first.
        """
        tokens = torch.from_numpy(identifiers.tokens)
        n = self.n_behaviours
        if n == 1:
            return tokens
        behaviours = (self.first_behaviour + torch.arange(n)).repeat(len(tokens))
        return torch.cat([behaviours[:, None], tokens.repeat_interleave(n, 0)], 1)

    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        absent: NDArray[np.int64] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Go on with the same items and possibly more behind them.

        Raises:
            IdentifierError: the levels have other sizes than those trained on.
        """
        check_sizes(identifiers, self.sizes)
        self.item_tokens = self._tokens_of(identifiers).to(self.item_tokens.device)

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on every item of the sequences but their first, given the items before it.

        Args:
            histories: sequences of item rows, with their behaviours where there are several.
            options: of the training.
            validate: metrics of the recommender as it is.

        Raises:
            DataError: no sequence has two items.
        """
        check_trainable(histories)
        histories = histories.events(self.n_behaviours)
        first, target = _samples(histories)
        options = options.sized(len(target))
        lengths = np.minimum(target - first, self.max_history)
        tokens = self.item_tokens.cpu()

        def collate(rows: Rows) -> tuple[Tensor, ...]:
            before = histories.slice(first[rows], target[rows]).padded(self.max_history)
            wanted = tokens[torch.from_numpy(histories.items[target[rows]])]
            return spell(torch.from_numpy(before), tokens), wanted

        return train(
            self,
            batches=lambda epoch: batches_by_length(lengths, options, epoch),
            collate=collate,
            options=options,
            validate=validate,
            label="training tiger",
            in_threads=True,
        )

    def forward(self, history_tokens: Tensor, target_tokens: Tensor) -> dict[str, Tensor]:
        """The ranking-guided loss (eq. 6) of the targets given the histories.

        Args:
            history_tokens: int64 ``(batch, s)`` as `spell` makes them.
            target_tokens: int64 ``(batch, n_levels)``, ``PAD_TOKEN`` after a shorter identifier;
                the token of the behaviour first, where behaviours are told apart.
        """
        logits = self.logits(history_tokens, target_tokens).flatten(0, 1)
        targets = target_tokens.masked_fill(target_tokens == PAD_TOKEN, _IGNORED).flatten()
        return {"loss": ranking_guided_loss(logits, targets, self.temperature)}

    def logits(self, history_tokens: Tensor, target_tokens: Tensor) -> Tensor:
        """float ``(batch, n_levels, n_tokens)``: at each target position, a score for each token,
        given the target tokens before it.
        """
        present = history_tokens != PAD_TOKEN
        mask = None if bool(present.all()) else additive(present)
        source = self.encoder(self.shared(history_tokens), mask)
        given = F.pad(target_tokens[:, :-1], (1, 0), value=PAD_TOKEN)  # PAD starts every target
        state = self.decoder(self.shared(given), None, source, mask)
        return self.tokens_of(state)

    def tokens_of(self, state: Tensor) -> Tensor:
        """Logits over all tokens: ``(..., d)`` -> ``(..., n_tokens)``."""
        return F.linear(state * self.shared.embedding_dim**-0.5, self.shared.weight)

    def encode(
        self,
        histories: Tensor,
        instructions: Sequence[str | None] | None = None,
        behaviours: Tensor | None = None,
    ) -> Beams:
        """Read each history once, for `beam_search.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, or events, left-aligned, -1 padded;
                ``longest`` at most ``max_history``.
            instructions: not read: this recommender follows none.
            behaviours: int64 ``(batch,)`` that are asked for; for -1, or None, the likeliest of the
                targets is predicted.
        """
        self.eval()
        asked = None
        if self.n_behaviours > 1:
            asked = histories.new_full((len(histories),), -1) if behaviours is None else behaviours
        return Beams(self, spell(histories, self.item_tokens), asked)

    @torch.no_grad()
    def next_behaviours(self, histories: Tensor) -> Tensor:
        """The probabilities of the first token that is generated; see
        `Recommender.next_behaviours`.
        """
        self.eval()
        start = histories.new_full((len(histories), 1), PAD_TOKEN)
        logits = self.logits(spell(histories, self.item_tokens), start)[:, 0].float()
        return logits[:, self.first_behaviour :].softmax(1)

    def export(self, folder: Path) -> None:
        """Write a T5 with these weights and the tokenizer of its codes; see `t5_folder`."""
        write_t5(self.to_transformers().cpu(), self._vocabulary, folder)

    def to_transformers(self) -> T5ForConditionalGeneration:
        """transformers' `T5ForConditionalGeneration` with the same weights, in eval mode."""
        from transformers import T5Config, T5ForConditionalGeneration

        block = self.encoder.blocks[0]
        attention = block.own.SelfAttention
        settings: dict[str, Any] = {
            "vocab_size": self.shared.num_embeddings,
            "d_model": self.shared.embedding_dim,
            "d_kv": attention.head_dim,
            "d_ff": block.feed_forward.DenseReluDense.wi.out_features,
            "num_layers": len(self.encoder.block),
            "num_heads": attention.heads,
            "dropout_rate": attention.dropout.p,
            "pad_token_id": PAD_TOKEN,
            "eos_token_id": END_TOKEN,
            "decoder_start_token_id": PAD_TOKEN,
        }
        weights = self.state_dict()
        for tied in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"):
            weights[f"{tied}.weight"] = self.shared.weight
        network = T5ForConditionalGeneration(T5Config(**settings))
        network.load_state_dict(weights, strict=True)
        network.train(False)
        return network


class Beams:
    """A `beam_search.Decoder`: histories encoded once, and the state of their beams.

    Histories of similar length go together, a few at a time: the longest of the batch does not set
    the cost of all, and what a processor works on stays in its caches.
    """

    over_legal = False
    asked: None = None
    retrieved: None = None

    def __init__(self, model: Tiger, tokens: Tensor, asked: Tensor | None = None) -> None:
        together = _TOGETHER if tokens.device.type == "cpu" else len(tokens)
        lengths = (tokens != PAD_TOKEN).sum(1)
        order = lengths.argsort(stable=True)
        self._rows = torch.split(order, together)
        self._back = order.argsort()
        self._groups = [
            _Group(model, tokens[r, : int(lengths[r].max())], None if asked is None else asked[r])
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
    def __init__(self, model: Tiger, tokens: Tensor, asked: Tensor | None) -> None:
        self._model = model
        self._level = 0
        self._blocks = model.decoder.blocks
        present = tokens != PAD_TOKEN
        self._mask = None if bool(present.all()) else additive(present)
        states = model.encoder(model.shared(tokens), self._mask)
        attentions = [block.cross.EncDecAttention for block in self._blocks]
        self._source = [(a.split(a.k(states)), a.split(a.v(states))) for a in attentions]
        n_places = len(model.sizes) + (asked is not None)
        self._bias = model.decoder.position_bias(n_places)  # (h, t, t)
        # Per layer and level, keys and values (b, beams of the level, h, e).
        self._past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self._blocks]
        # Per token behind the start, rows (b, beams) of the ancestors there.
        self._ancestors: list[Tensor] = []
        self._state = self._step(tokens.new_full((len(tokens), 1), PAD_TOKEN))
        if asked is not None:
            self._extend(torch.zeros_like(asked)[:, None], self._behaviours(asked)[:, None])

    @torch.no_grad()
    def log_probs(self) -> Tensor:
        """float32 ``(b, beams, codes of this level)``."""
        logits = self._model.tokens_of(self._state).float()
        first = self._model.level_offsets[self._level]
        codes = logits[..., first : first + self._model.sizes[self._level]]
        return codes - logits.logsumexp(-1, keepdim=True)

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Append ``codes`` to the beams ``parents``, both int64 ``(b, beams)``."""
        tokens = codes + self._model.level_offsets[self._level]
        self._level += 1
        self._extend(parents, tokens)

    def _behaviours(self, asked: Tensor) -> Tensor:
        """int64 ``(b,)`` tokens of the behaviours asked for, or, where -1, of the likeliest of the
        targets.
        """
        model = self._model
        tokens = model.first_behaviour + torch.tensor(model.targets, device=asked.device)
        likeliest = tokens[model.tokens_of(self._state[:, 0])[:, tokens].argmax(1)]
        return torch.where(asked < 0, likeliest, model.first_behaviour + asked)

    def _extend(self, parents: Tensor, tokens: Tensor) -> None:
        """Append ``tokens`` to the beams ``parents``, both int64 ``(b, beams)``."""
        first = torch.arange(len(parents), device=parents.device)[:, None] * self._state.shape[1]
        self._ancestors = [rows.gather(1, parents) for rows in self._ancestors]
        self._ancestors.append(first + parents)
        self._state = self._step(tokens)

    def _step(self, tokens: Tensor) -> Tensor:
        """States ``(b, beams, d)`` after one more token ``(b, beams)`` of each beam."""
        x = self._model.shared(tokens)
        for block, (keys, values), past in zip(self._blocks, self._source, self._past, strict=True):
            x = x + self._attend_to_codes(block.own.SelfAttention, block.own.layer_norm(x), past)
            cross = block.cross.EncDecAttention
            queries = cross.split(cross.q(block.cross.layer_norm(x)))  # (b, h, beams, e)
            attended = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=self._mask, scale=1.0
            )
            x = x + cross.o(attended.transpose(1, 2).flatten(2))
            x = block.feed_forward(x)
        state: Tensor = self._model.decoder.final_layer_norm(x)
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


def spell(histories: Tensor, item_tokens: Tensor) -> Tensor:
    """Histories as the encoder reads them: the tokens of their items, then ``END_TOKEN``.

    Args:
        histories: int64 ``(batch, n)`` item rows, left-aligned, -1 padded.
        item_tokens: int64 ``(n_items, n_levels)``, ``PAD_TOKEN`` after a shorter identifier.

    Returns:
        int64 ``(batch, s)``, ``PAD_TOKEN`` after the end.

    >>> items = torch.tensor([[2, 5], [3, PAD_TOKEN]])
    >>> spell(torch.tensor([[1, 0], [0, -1]]), items).tolist()
    [[3, 2, 5, 1], [2, 5, 1, 0]]
    """
    tokens = item_tokens[histories.clamp(min=0)]  # (batch, n, n_levels)
    tokens = tokens.masked_fill(histories[..., None] < 0, PAD_TOKEN).flatten(1)
    tokens = F.pad(tokens, (0, 1), value=PAD_TOKEN)
    if bool((item_tokens[:, -1] == PAD_TOKEN).any()):  # close the gaps after shorter identifiers
        order = (tokens == PAD_TOKEN).to(torch.uint8).argsort(dim=1, stable=True)
        tokens = tokens.gather(1, order)
    lengths = (tokens != PAD_TOKEN).sum(1, keepdim=True)
    return tokens.scatter(1, lengths, END_TOKEN)[:, : int(lengths.max()) + 1]


def _samples(histories: Histories) -> tuple[Rows, Rows]:
    """Where the history of each sample starts and where its target is, in ``histories.items``.

    >>> _samples(Histories.from_lists([[7, 8, 9], [5], [1, 2]]))
    (array([0, 0, 4]), array([1, 2, 5]))
    """
    position = np.arange(len(histories.items))
    first = np.repeat(histories.offsets[:-1], histories.lengths)
    target = position[position > first]
    return first[target], target
