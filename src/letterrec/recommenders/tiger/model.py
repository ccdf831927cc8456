"""TIGER's recommender as in the paper's LETTER-TIGER: T5 over the code tokens of the history.

`network` has the weights, `spelling` turns histories into tokens, `beams` answers beam search, and
`export` writes a folder for transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.sequences import Histories
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import PAD_TOKEN, Identifiers
from letterrec.recommenders.base import Features, Recommender, check_sizes, check_trainable
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.recommenders.tiger.beams import Beams
from letterrec.recommenders.tiger.export import write_t5
from letterrec.recommenders.tiger.network import Network
from letterrec.recommenders.tiger.spelling import spell
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.loop import batches_by_length, train
from letterrec.training.options import TrainingOptions
from letterrec.training.steps import Rows

_IGNORED = -100  # a target position without a token


class Tiger(Network, Recommender):
    """An encoder over the tokens of the latest items, a decoder over the next item's codes.

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
        super().__init__(
            identifiers,
            dim=dim,
            layers=layers,
            heads=heads,
            head_dim=head_dim,
            feed_forward=feed_forward,
            dropout=dropout,
            n_behaviours=n_behaviours,
            targets=targets,
        )
        self.max_history = max_history
        self.temperature = temperature
        behaviours = [f"<behaviour_{i}>" for i in range(n_behaviours)] if n_behaviours > 1 else []
        self._vocabulary = [*identifiers.vocabulary, *behaviours]
        self.register_buffer("item_tokens", self._tokens_of(identifiers), persistent=False)

    @classmethod
    def given(cls, features: Features, trie: Trie | None) -> dict[str, object]:
        """The behaviours."""
        return {"n_behaviours": features.n_behaviours, "targets": features.targets}

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
        wanted = None
        if self.n_behaviours > 1:
            wanted = histories.new_full((len(histories),), -1) if behaviours is None else behaviours
        return Beams(self, spell(histories, self.item_tokens), wanted)

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
        """Write a T5 with these weights and the tokenizer of its codes; see `export`."""
        write_t5(self.to_transformers().cpu(), self._vocabulary, folder)


def _samples(histories: Histories) -> tuple[Rows, Rows]:
    """Where the history of each sample starts and where its target is, in ``histories.items``.

    >>> _samples(Histories.from_lists([[7, 8, 9], [5], [1, 2]]))
    (array([0, 0, 4]), array([1, 2, 5]))
    """
    position = np.arange(len(histories.items))
    first = np.repeat(histories.offsets[:-1], histories.lengths)
    target = position[position > first]
    return first[target], target
