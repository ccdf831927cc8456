"""The recommender rqt: how its network learns histories and wishes, and is asked what comes next.

The RQ-Transformer of "Autoregressive Image Generation using Residual Quantization" (CVPR'22, the
paper that LETTER's quantizer comes from), for item sequences: an item enters as the sum of its
code embeddings, its content vector and a droppable item embedding; the hidden state after each
item is decoded into the next item's codes, level by level. One pass trains every position of a
sequence, and beams never touch the history again.

The same state is trained to find the next item in a softmax over all items, as SASRec is. What it
finds likely has a share of the probability of every prefix that leads there, beside the codes.

What reads wishes in words (`wishes`) is trained behind all this, which stays as it is: so without a
wish a recommender ranks as one that was never taught any.

`network` has the weights, `packing` the batches, `decoder` answers beam search, `likely` finds
items by the softmax over items, `wished` by wishes, and `scoring` says how likely given items are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.data.sequences import Histories
from letterrec.decoding.trie import Trie
from letterrec.embeddings.query_encoder import QueryEncoder
from letterrec.errors import SettingsError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.nn.behaviours import items_of
from letterrec.nn.sasrec import full_loss
from letterrec.recommenders.base import Features, LegalCodes, Recommender
from letterrec.recommenders.preferences import Preferences, fit_preferences
from letterrec.recommenders.rqt import network
from letterrec.recommenders.rqt.decoder import RqtDecoder
from letterrec.recommenders.rqt.likely import Finder, ItemTable, Kept, Likely
from letterrec.recommenders.rqt.network import Network
from letterrec.recommenders.rqt.packing import are_taken_once, fit_windows
from letterrec.recommenders.rqt.scoring import behaviour_loss, code_loss, item_log_probs
from letterrec.recommenders.rqt.wished import Wished, unit_content, wished_items
from letterrec.recommenders.wishes.following import Wishes
from letterrec.recommenders.wishes.reader import WishReader
from letterrec.recommenders.wishes.training import WishTraining
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.options import TrainingOptions


class Rqt(Network, Recommender):
    """Residual-quantization transformer over items.

    Args:
        identifiers: the code sequence of every item.
        content: float32 ``(n_items, d_content)`` content embeddings added to the items of the
            history; None adds none.
        trie: of the identifiers, where there is one already.
        max_history: latest items of a history that are read.
        dim: width of hidden states and embeddings.
        layers: transformer layers over the history.
        heads: attention heads.
        depth_layers: residual blocks per level of the code decoder.
        dropout: of embeddings, attention and blocks; also the share of item embeddings dropped.
        use_content: whether content embeddings are read where there are any.
        item_embedding: whether items of the history have a learned embedding of their own.
        temperature: tau of the ranking-guided loss (eq. 6).
        item_weight: weight of a softmax over items in the loss, relative to the codes; 0: there is
            none, as for more than 100,000 items, whose scores would cost too much.
        item_share: share of the probability that the softmax over items has in the ranking; the
            codes have the rest.
        n_behaviours: kinds of interactions; see `nn.behaviours`.
        targets: rows of the behaviours that are to be predicted; empty: all.
        behaviour_weight: weight in the loss of predicting by which behaviour the next item comes,
            where there are several; 0: that is not predicted.
    """

    learns_preferences: ClassVar[bool] = True
    learns_wishes: ClassVar[bool] = True

    def __init__(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        *,
        trie: Trie | None = None,
        max_history: int = 20,
        dim: int = 128,
        layers: int = 2,
        heads: int = 2,
        depth_layers: int = 2,
        dropout: float = 0.3,
        use_content: bool = True,
        item_embedding: bool = True,
        temperature: float = 1.0,
        item_weight: float = 1.0,
        item_share: float = 0.8,
        n_behaviours: int = 1,
        targets: tuple[int, ...] = (),
        behaviour_weight: float = 0.2,
    ) -> None:
        super().__init__(
            identifiers,
            content if use_content else None,
            max_history=max_history,
            dim=dim,
            layers=layers,
            heads=heads,
            depth_layers=depth_layers,
            dropout=dropout,
            item_embedding=item_embedding,
            item_softmax=item_weight > 0,
            n_behaviours=n_behaviours,
            targets=targets,
            next_behaviour=behaviour_weight > 0,
        )
        self.temperature = temperature
        self.behaviour_weight = behaviour_weight
        self.item_weight, self.item_share = item_weight, item_share
        self._legal = LegalCodes(identifiers, trie)
        self._ranked: Kept[ItemTable] = Kept()
        self._wished: Kept[ItemTable] = Kept()
        self._unit_content: Kept[Tensor] = Kept()

    @classmethod
    def given(cls, features: Features, trie: Trie | None) -> dict[str, object]:
        """Content, the trie and the behaviours."""
        return {
            "content": features.content,
            "trie": trie,
            "n_behaviours": features.n_behaviours,
            "targets": features.targets,
        }

    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        absent: NDArray[np.int64] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """See `Recommender.set_catalogue`."""
        self.set_items(identifiers, content, absent)
        self._legal = LegalCodes(identifiers)
        if self.wishes is not None and texts is not None:
            self.wishes = Wishes(self.wishes.reader, self.wishes.encoder, texts)

    def train(self, mode: bool = True) -> Self:
        """As of any module; what was made of the weights is made anew."""
        self._ranked.forget()
        self._wished.forget()
        return super().train(mode)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As of any module; whole weights of an earlier version predict no behaviour. What was made
        of the weights is made anew.
        """
        self._ranked.forget()
        self._wished.forget()
        if strict and not any(name.startswith("next_behaviour.") for name in state_dict):
            self.next_behaviour = None
        return super().load_state_dict(state_dict, strict, assign)

    def start_from(self, weights: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """See `Recommender.start_from`; new items keep the embeddings that they were drawn, and so
        does the softmax over items where only one of both has it.
        """
        taken = {name: weights.get(name, own) for name, own in self.state_dict().items()}
        if self.item_embedding is not None:
            own = self.item_embedding.weight.detach().clone()  # (n_items, dim)
            known = torch.from_numpy(rows >= 0)
            before = torch.from_numpy(rows)[known]
            own[known.to(own.device)] = taken["item_embedding.weight"][before].to(own)
            taken["item_embedding.weight"] = own
        self.load_state_dict(taken)

    def read_wishes(self, encoder: QueryEncoder, texts: Sequence[str]) -> None:
        """See `Recommender.read_wishes`."""
        if self.content is None or len(self.tokens) > network.SOFTMAX_ITEMS:
            raise SettingsError(
                "wishes.enabled: wishes are matched with the content of all items; it needs items "
                "with texts, recommender.use_content = true, and at most "
                f"{network.SOFTMAX_ITEMS:,} items"
            )
        dim = self.body_norm.weight.shape[0]
        self.wishes = Wishes(WishReader(self.content, dim), encoder, texts)

    def fit_wishes(
        self,
        pool: Tensor,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """See `Recommender.fit_wishes`."""
        assert self.wishes is not None
        self.wishes.reader.taken_once.fill_(are_taken_once(histories))
        self.requires_grad_(False)
        training = WishTraining(self, self.wishes.reader, pool)
        windows = self._windows(histories)
        log = fit_windows(training, windows, options, validate=validate, label="wishes")
        self.requires_grad_(True)
        return log

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on every next item of every sequence; see `training.loop.train`."""
        if self.item_query is not None:
            self.taken_once.fill_(are_taken_once(histories))
        windows = self._windows(histories)
        return fit_windows(self, windows, options, validate=validate, label="recommender (rqt)")

    def _windows(self, histories: Histories) -> Histories:
        """The sequences that it is trained on: as long as it reads, and the item that follows."""
        return histories.events(self.n_behaviours).windows(self.max_history + 1)

    def fit_preferences(
        self,
        preferences: Preferences,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """See `Recommender.fit_preferences`."""
        return fit_preferences(
            self,
            self.item_log_probs,
            preferences,
            options,
            max_history=self.max_history,
            n_behaviours=self.n_behaviours,
            validate=validate,
        )

    def item_log_probs(self, histories: Tensor, items: Tensor) -> Tensor:
        """The log-probabilities with which items are ranked, float32 ``(n, m)``.

        Args:
            histories: int64 ``(n, longest)`` item rows, or events, left-aligned, -1 padded.
            items: int64 ``(n, m)`` rows.
        """
        hidden = self.latest(histories, None)
        has_softmax = self.item_query is not None
        taken = items_of(histories, self.n_behaviours) if has_softmax and self.taken_once else None
        share = self.item_share
        return item_log_probs(self, self._legal, hidden, items, share=share, taken=taken)

    def forward(self, *groups: Tensor) -> dict[str, Tensor]:
        """The loss of predicting each item from those before it.

        Args:
            groups: int64 ``(sequences, longest)`` item rows, or events, each, left-aligned, ``-1``
                after the end: together a batch.

        Returns:
            ``loss``: the ranking-guided loss (eq. 6), summed over levels, mean over items. With a
            softmax over items ``codes`` is this, ``items`` the cross-entropy over the items, and
            ``loss`` their weighted sum. So is ``behaviours``, the cross-entropy over the behaviours
            by which the items come, where they are predicted.
        """
        states = [self.states_before(events) for events in groups]
        hidden, following, read = self.targets_in(groups, states)
        loss = codes = self.code_loss(hidden, following)
        parts: dict[str, Tensor] = {}
        if self.item_query is not None:
            left_out = read if self.taken_once else None
            of_items = full_loss(self.item_query(hidden), self.items(), following, left_out)
            loss, parts["items"] = loss + self.item_weight * of_items, of_items
        if self.next_behaviour is not None:
            kinds = behaviour_loss(self, groups, states)
            loss, parts["behaviours"] = loss + self.behaviour_weight * kinds, kinds
        return {"loss": loss, "codes": codes, **parts} if parts else {"loss": loss}

    @property
    def predicts_behaviours(self) -> bool:
        """Whether it says by which behaviour the next item comes."""
        return self.next_behaviour is not None

    @torch.no_grad()
    def next_behaviours(self, histories: Tensor) -> Tensor:
        """See `Recommender.next_behaviours`."""
        assert self.behaviours is not None
        states = self.read(histories, self.behaviours.wanted(histories))
        latest = (histories >= 0).sum(1) - 1
        logits = self.behaviour_logits(histories, states)
        return logits[torch.arange(len(latest), device=latest.device), latest].float().softmax(1)

    def code_loss(self, hidden: Tensor, following: Tensor) -> Tensor:
        """The ranking-guided loss (eq. 6) of items ``(n,)`` that follow hidden states ``(n, dim)``,
        summed over levels, mean over items.
        """
        return code_loss(self, self._legal, hidden, following, self.temperature)

    @torch.no_grad()
    def encode(
        self,
        histories: Tensor,
        instructions: Sequence[str | None] | None = None,
        behaviours: Tensor | None = None,
    ) -> RqtDecoder:
        """Read histories once, for `beam_search.search`.

        Args:
            histories: int64 ``(batch, longest)`` item rows, or events, left-aligned, ``-1`` after
                the end, at least one item each; ``longest`` at most ``max_history``.
            instructions: for each history what is wanted, in words, or None; read where it
                `follows_instructions`. A history beside a wish may be empty.
            behaviours: int64 ``(batch,)`` that are asked for; -1, or None: the targets.
        """
        if self.wishes is not None and instructions is not None and any(instructions):
            return self._beside(self.wishes).decoder(histories, instructions, behaviours)
        inputs = None if self.item_query is None else self._ranked_items().items
        hidden = self.latest(histories, behaviours, inputs)
        return RqtDecoder(self, hidden, self._likely(hidden, histories))

    def meets(self, instruction: str, allowed: Tensor | None = None) -> bool:
        """See `Recommender.meets`."""
        if self.wishes is None or self.content is None:
            return True
        content = self._unit_content.of(self.tokens, partial(unit_content, self))
        return self.wishes.is_met(instruction, content, allowed)

    def _likely(self, hidden: Tensor, histories: Tensor) -> Finder | None:
        """What finds the items that the softmax over items finds likely, among those allowed.

        Hidden states ``(batch, dim)`` after histories ``(batch, longest)``.
        """
        if self.item_query is None or self.item_share == 0:
            return None
        table, query = self._ranked_items(), self.item_query(hidden)
        taken = items_of(histories, self.n_behaviours) if self.taken_once else None
        return Likely(table, query, table.scores(query, self.gone, taken), self.item_share).among

    def _ranked_items(self) -> ItemTable:
        """What stands for the items in the softmax over items."""
        return self._ranked.of(self.tokens, lambda: ItemTable.of(self.items()))

    def _beside(self, wishes: Wishes) -> Wished:
        """What reads histories and wishes together."""
        ranked = None if self.item_query is None else self._ranked_items()
        make = partial(wished_items, self, wishes.reader, ranked)
        return Wished(self, wishes, ranked, self._wished.of(self.tokens, make), self.item_share)
