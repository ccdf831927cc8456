"""rqt, the fast default: a causal transformer over items, a shallow decoder over codes.

The RQ-Transformer of "Autoregressive Image Generation using Residual Quantization" (CVPR'22, the
paper that LETTER's quantizer comes from), for item sequences: an item enters as the sum of its
code embeddings, its content vector and a droppable item embedding; the hidden state after each
item is decoded into the next item's codes, level by level. One pass trains every position of a
sequence, and beams never touch the history again.

The same state is trained to find the next item in a softmax over all items, as SASRec is. What it
finds likely has a share of the probability of every prefix that leads there, beside the codes.

What reads wishes in words (`wishes`) is trained behind all this, which stays as it is: so without a
wish a recommender ranks as one that was never taught any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from letterrec.data.sequences import Histories
from letterrec.decoding.asked import Asked
from letterrec.decoding.mixture import Retrieved
from letterrec.decoding.trie import Trie
from letterrec.embeddings.queries import QueryEncoder
from letterrec.errors import SettingsError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.nn.behaviours import BehaviourInputs, NextBehaviour, items_of
from letterrec.nn.causal import CausalBlock
from letterrec.nn.dropout import Dropout
from letterrec.nn.sasrec import full_loss
from letterrec.recommenders.base import Features, LegalCodes, Recommender
from letterrec.recommenders.losses import ranking_guided_loss
from letterrec.recommenders.wishes.following import ReadWishes, Wishes, phrases
from letterrec.recommenders.wishes.reader import WishReader
from letterrec.recommenders.wishes.training import WishTraining
from letterrec.training.checkpoints import TrainingLog
from letterrec.training.devices import has_bfloat16
from letterrec.training.loop import Rows, random_batches, train
from letterrec.training.options import TrainingOptions

SOFTMAX_ITEMS = 100_000  # the largest catalogue with a softmax over its items
_LIKELY = 50  # items of the item softmax that are mixed in
_FEW_REPEATS = 0.01  # share of interactions with an item of the own history that is called none
_Finder = Callable[[Tensor | None], Retrieved]  # of likely items among those allowed, None: all
_GROUPS = 4  # of similar length, in a batch
_STEPS_PER_EPOCH = 40  # at least: a small data set is passed several times in an epoch


class Rqt(Recommender):
    """Residual-quantization transformer over items.

    Args:
        identifiers: the code sequence of every item.
        content: float32 ``(n_items, d_content)`` content embeddings added to the items of the
            history; None adds none.
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

    tokens: Tensor
    targets: Tensor
    content: Tensor | None
    gone: Tensor
    learns_wishes: ClassVar[bool] = True
    taken_once: Tensor  # whether the softmax over items leaves out those of the history

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
        super().__init__()
        content = content if use_content else None
        self.max_history = max_history
        self.temperature = temperature
        self.item_weight, self.item_share = item_weight, item_share
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
        has_softmax = item_weight > 0 and not is_large
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
        self.behaviour_weight = behaviour_weight
        has_head = n_behaviours > 1 and behaviour_weight > 0
        self.next_behaviour = NextBehaviour(n_behaviours, dim) if has_head else None
        self._table: _Table | None = None
        self._wished_table: _Table | None = None
        self._there: _There | None = None
        self.set_catalogue(identifiers, content)
        self._legal = LegalCodes(identifiers, trie)

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
        return make(
            identifiers,
            features.content,
            trie=trie,
            n_behaviours=max(1, len(features.behaviours)),
            targets=features.targets,
            **settings,
        )

    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None = None,
        absent: NDArray[np.int64] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Use these identifiers and content embeddings: the same items, or more behind them.

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
        self._legal = LegalCodes(identifiers)
        gone = torch.as_tensor([] if absent is None else absent, dtype=torch.long)
        self.register_buffer("gone", gone.to(device), persistent=False)
        if self.wishes is not None and texts is not None:
            self.wishes = Wishes(self.wishes.reader, self.wishes.encoder, texts)

    def train(self, mode: bool = True) -> Self:
        """As of any module; what was made of the weights is made anew."""
        self._table = self._wished_table = None
        return super().train(mode)

    def read_wishes(self, encoder: QueryEncoder, texts: Sequence[str]) -> None:
        """See `Recommender.read_wishes`."""
        if self.content is None or len(self.tokens) > SOFTMAX_ITEMS:
            raise SettingsError(
                "wishes.enabled: wishes are matched with the content of all items; it needs items "
                "with texts, recommender.use_content = true, and at most "
                f"{SOFTMAX_ITEMS:,} items"
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
        self.wishes.reader.taken_once.fill_(_are_taken_once(histories))
        self.requires_grad_(False)
        training = WishTraining(self, self.wishes.reader, pool)
        log = self._train_on(training, histories, options, validate, "wishes")
        self.requires_grad_(True)
        return log

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

    def fit(
        self,
        histories: Histories,
        options: TrainingOptions,
        *,
        validate: Callable[[], Mapping[str, float]] | None = None,
    ) -> TrainingLog:
        """Train on every next item of every sequence; see `training.loop.train`."""
        if self.item_query is not None:
            self.taken_once.fill_(_are_taken_once(histories))
        return self._train_on(self, histories, options, validate, "recommender (rqt)")

    def _train_on(
        self,
        module: nn.Module,
        histories: Histories,
        options: TrainingOptions,
        validate: Callable[[], Mapping[str, float]] | None,
        label: str,
    ) -> TrainingLog:
        """Train this, or what learns beside it, on groups of sequences as of `forward`."""
        windows = histories.events(self.n_behaviours).windows(self.max_history + 1)
        options = options.sized(len(windows))
        return train(
            module,
            batches=lambda epoch: random_batches(
                len(windows), options, epoch, at_least=_STEPS_PER_EPOCH
            ),
            collate=lambda rows: _collate(windows, rows),
            options=options,
            validate=validate,
            label=label,
        )

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
        states = [self._states(events) for events in groups]
        hidden, following, read = self._targets(groups, states)
        loss = codes = self.code_loss(hidden, following)
        parts: dict[str, Tensor] = {}
        if self.item_query is not None:
            left_out = read if self.taken_once else None
            of_items = full_loss(self.item_query(hidden), self.items(), following, left_out)
            loss, parts["items"] = loss + self.item_weight * of_items, of_items
        if self.next_behaviour is not None:
            kinds = self._behaviour_loss(groups, states)
            loss, parts["behaviours"] = loss + self.behaviour_weight * kinds, kinds
        return {"loss": loss, "codes": codes, **parts} if parts else {"loss": loss}

    def targets_of(self, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Each item that follows others, of groups of sequences as of `forward`.

        Returns:
            Hidden states ``(n, dim)`` before it, its row ``(n,)``, and the rows of those read
            before it ``(n, longest - 1)``, -1 padded.
        """
        return self._targets(groups, [self._states(events) for events in groups])

    def _targets(
        self, groups: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same, with the states ``(sequences, longest - 1, dim)`` of each group."""
        parts = [self._following(*part) for part in zip(groups, states, strict=True)]
        hidden, following = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        longest = max(part[2].shape[1] for part in parts)
        read = [F.pad(r, (0, longest - r.shape[1]), value=-1) for _, _, r in parts]
        return hidden, following, torch.cat(read)

    def code_loss(self, hidden: Tensor, following: Tensor) -> Tensor:
        """The ranking-guided loss (eq. 6) of items ``(n,)`` that follow hidden states ``(n, dim)``,
        summed over levels, mean over items.
        """
        prefix = self.prefix_embedding(self.tokens[following])  # (n_targets, levels, dim)
        before = prefix.cumsum(1) - prefix  # sum over the levels before each level
        trie, prefixes = self._legal.on(hidden.device)
        loss = hidden.new_zeros(())
        for level, size in enumerate(self.sizes):
            nodes = prefixes[following, level]
            # Where a prefix leaves no choice there is nothing to learn.
            open_ = trie.n_children(level, nodes) > 1
            n_open = int(open_.sum())
            if n_open == 0:
                continue
            state = self._descend(hidden[open_] + before[open_, level], level)
            legal = trie.legal(level, nodes[open_], size)
            logits = self._logits(state, level).masked_fill(~legal, -torch.inf)
            targets = self.targets[following[open_], level]
            share = n_open / len(following)
            loss = loss + share * ranking_guided_loss(logits, targets, self.temperature)
        return loss

    def _states(self, events: Tensor) -> Tensor:
        """Hidden states ``(sequences, longest - 1, dim)`` before all items but the first, of item
        rows, or events, ``(sequences, longest)``.
        """
        following = None
        if self.behaviours is not None:
            following = self.behaviours.between(events, dropping=self.training)
        return self._read(events[:, :-1], following)

    def _behaviour_loss(self, groups: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
        """Cross-entropy of the behaviour of each event that follows others, mean over them."""
        logits, wanted = [], []
        for events, state in zip(groups, states, strict=True):
            there = events[:, 1:] >= 0
            logits.append(self._behaviour_logits(events[:, :-1], state)[there])
            wanted.append(events[:, 1:][there].remainder(self.n_behaviours))
        return F.cross_entropy(torch.cat(logits).float(), torch.cat(wanted))

    def _behaviour_logits(self, events: Tensor, states: Tensor) -> Tensor:
        """Logits ``(batch, longest, n_behaviours)`` of the behaviour after each event ``(batch,
        longest)``, with the states ``(batch, longest, dim)``.
        """
        assert self.behaviours is not None
        assert self.next_behaviour is not None
        items = items_of(events, self.n_behaviours).clamp_min(0)
        came_by = self.behaviours.had(events.remainder(self.n_behaviours))
        return cast(Tensor, self.next_behaviour(states, self._item_inputs(items) + came_by))

    @property
    def predicts_behaviours(self) -> bool:
        """Whether it says by which behaviour the next item comes."""
        return self.next_behaviour is not None

    @torch.no_grad()
    def next_behaviours(self, histories: Tensor) -> Tensor:
        """See `Recommender.next_behaviours`."""
        assert self.behaviours is not None
        states = self._read(histories, self.behaviours.asked(histories))
        latest = (histories >= 0).sum(1) - 1
        logits = self._behaviour_logits(histories, states)
        return logits[torch.arange(len(latest)), latest].float().softmax(1)

    def _following(self, events: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each item that follows others, of item rows, or events, ``(sequences, longest)``, with
        the states before them ``(sequences, longest - 1, dim)``.

        Returns:
            Hidden states ``(n, dim)`` before it, its row ``(n,)``, and the rows of those read
            before it ``(n, longest - 1)``, -1 padded.
        """
        items = items_of(events, self.n_behaviours)
        is_target = items[:, 1:] >= 0
        steps = torch.arange(items.shape[1] - 1, device=items.device)
        read = items[:, None, :-1].expand(-1, len(steps), -1)  # (sequences, longest - 1, same)
        read = read.masked_fill(steps > steps[:, None], -1)
        return states[is_target], items[:, 1:][is_target], read[is_target]

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
            return self._asked(self.wishes, histories, instructions, behaviours)
        hidden = self._latest(histories, behaviours)
        items = items_of(histories, self.n_behaviours)
        return RqtDecoder(self, hidden, self._likely(hidden, items))

    def _asked(
        self,
        wishes: Wishes,
        histories: Tensor,
        instructions: Sequence[str | None],
        behaviours: Tensor | None,
    ) -> RqtDecoder:
        """Read histories and wishes; either may be missing of a query."""
        if not histories.shape[1]:
            histories = F.pad(histories, (0, 1), value=-1)
        reader, device = wishes.reader, histories.device
        read = wishes.read(instructions, device)
        latest = self._latest(histories, behaviours)
        before = reader.begun(latest, (histories >= 0).any(1))  # (batch, dim)
        hidden = reader.wished(before, read.wanted, read.has_wish)
        items = items_of(histories, self.n_behaviours)
        query, logits, evidence = self._gained(reader, before, hidden, read, items)
        table = self._wished_items(reader)

        def likely(allowed: Tensor | None) -> Retrieved:
            found = self._mixed_in(query, table, logits, allowed)
            if self.item_query is not None:
                return found
            return found._replace(shares=found.shares * read.has_wish[:, None])  # else codes alone

        permitted = None
        if ruled_out := phrases(read.excluded):
            spoken_for = self._spoken_for(reader, wishes.embedded(ruled_out, device))
            permitted = wishes.permitted(read.excluded, spoken_for)
        memory = torch.where(read.has_wish[:, None], reader.memory, 1.0)
        asked = Asked(evidence * reader.sharpness, memory, permitted)
        return RqtDecoder(self, hidden, likely if self.item_share else None, asked)

    def _spoken_for(self, reader: WishReader, phrases: Tensor) -> Tensor:
        """float32 ``(n, n_items)``: the evidence of phrases ``(n, d_content)`` alone."""
        everywhere = torch.ones(len(phrases), dtype=torch.bool, device=phrases.device)
        read = ReadWishes(phrases, everywhere, [])
        alone = reader.alone.expand(len(phrases), -1)
        hidden = reader.wished(alone, phrases, everywhere)
        nothing = torch.full((len(phrases), 1), -1, device=phrases.device)
        return self._gained(reader, alone, hidden, read, nothing)[2]

    def _gained(
        self,
        reader: WishReader,
        before: Tensor,
        hidden: Tensor,
        read: ReadWishes,
        histories: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What wishes change in what is likely, from states ``(batch, dim)`` to others.

        Returns:
            What finds the items ``(batch, d)``, their rough scores float32 ``(batch, n_items)``,
            and by how much they are likelier than before, in nats, the same shape.
        """
        once = bool(reader.taken_once)
        query = reader.queries(hidden, read.wanted, read.has_wish)
        if self.item_query is None:
            first = reader.queries(before, read.wanted, torch.zeros_like(read.has_wish))
            prior = self._logits_of(first, self._wished_items(reader), histories, once)
        else:
            first = self.item_query(before)
            prior = self._logits_of(first, self._ranked_items(), histories, once)
            query = torch.cat([self.item_query(hidden), query * read.has_wish[:, None]], 1)
        logits = self._logits_of(query, self._wished_items(reader), histories, once)
        gained = logits.log_softmax(1) - prior.log_softmax(1)
        return query, logits, gained.masked_fill(~gained.isfinite(), 0.0)

    def meets(self, instruction: str) -> bool:
        """See `Recommender.meets`."""
        if self.wishes is None or self.content is None:
            return True
        made = self._there
        if made is None or made.tokens is not self.tokens:
            there = torch.ones(len(self.content), dtype=torch.bool, device=self.content.device)
            there[self.gone] = False
            made = self._there = _There(self.tokens, F.normalize(self.content[there], dim=1))
        return self.wishes.is_met(instruction, made.content)

    def _latest(self, histories: Tensor, behaviours: Tensor | None) -> Tensor:
        """Hidden states ``(batch, dim)`` after item rows, or events, ``(batch, longest)``."""
        lengths = (histories >= 0).sum(1)
        asked = None if self.behaviours is None else self.behaviours.asked(histories, behaviours)
        state = self._embed(histories, asked)  # (batch, longest, dim)
        for block in self.body[:-1]:
            state = block(state)
        latest = cast(CausalBlock, self.body[-1]).at(
            state, (lengths - 1).clamp_min(0)
        )  # (batch, dim)
        return cast(Tensor, self.body_norm(latest))

    def _likely(self, hidden: Tensor, histories: Tensor) -> _Finder | None:
        """What finds the items that the softmax over items finds likely, among those allowed.

        Hidden states ``(batch, dim)`` after histories ``(batch, longest)``.
        """
        if self.item_query is None or self.item_share == 0:
            return None
        query, table = self.item_query(hidden), self._ranked_items()
        logits = self._logits_of(query, table, histories, bool(self.taken_once))
        return partial(self._mixed_in, query, table, logits)

    def _logits_of(self, query: Tensor, table: _Table, histories: Tensor, once: bool) -> Tensor:
        """float32 ``(batch, n_items)``: rough scores of all items, ``-inf`` of those that cannot
        come: queries ``(batch, d)`` after histories ``(batch, longest)``, items ``(n_items, d)``;
        items are taken ``once`` where those of the history cannot.
        """
        logits = (query.to(table.rough.dtype) @ table.rough.T).float()
        logits[:, self.gone[self.gone < logits.shape[1]]] = -torch.inf
        if once:
            row, place = (histories >= 0).nonzero(as_tuple=True)
            logits[row, histories[row, place]] = -torch.inf
        return logits

    def _mixed_in(
        self, query: Tensor, table: _Table, logits: Tensor, allowed: Tensor | None
    ) -> Retrieved:
        """The likeliest items by rough scores, with their exact shares; see `_logits_of`.

        Of those that are allowed: bool ``(n_items,)`` or ``(batch, n_items)``; None: all.
        """
        candidates = logits
        if allowed is not None:  # one flag less for an item that has come since
            flags = allowed[..., : logits.shape[1]].expand(len(logits), -1)
            candidates = logits.clone()
            candidates[:, : flags.shape[1]].masked_fill_(~flags, -torch.inf)
        rough, items = candidates.topk(min(_LIKELY, logits.shape[1]), dim=1)  # (batch, n)
        exact = (table.items[items] @ query[..., None]).squeeze(2)
        exact = exact.masked_fill(logits.gather(1, items) == -torch.inf, -torch.inf)
        logits.scatter_(1, items, exact)
        shares = (exact - logits.logsumexp(1, keepdim=True)).exp()
        shares = shares.masked_fill(rough == -torch.inf, 0.0)
        return Retrieved(items, self.item_share * shares)

    def _ranked_items(self) -> _Table:
        """`items`, kept while neither weights nor catalogue change.

        What was made is kept beside the tokens that it is of: a catalogue may be replaced while
        queries of the one before are answered.
        """
        made, tokens = self._table, self.tokens
        if made is None or made.tokens is not tokens:
            made = self._table = _Table.of(tokens, self.items())
        return made

    def _wished_items(self, reader: WishReader) -> _Table:
        """The same, followed by what stands for items where wishes are read."""
        made, tokens, content = self._wished_table, self.tokens, self.content
        if made is None or made.tokens is not tokens:
            assert content is not None
            items = reader.items(content)
            if self.item_query is not None:
                items = torch.cat([self._ranked_items().items, items], 1)
            made = self._wished_table = _Table.of(tokens, items)
        return made

    def items(self) -> Tensor:
        """What stands for each item in the softmax over items: ``(n_items, dim)``."""
        return self._item_inputs(torch.arange(len(self.tokens), device=self.tokens.device))

    def _read(self, events: Tensor, following: Tensor | None = None) -> Tensor:
        """Item rows, or events, ``(batch, longest)`` -> hidden states ``(batch, longest, dim)``."""
        state = self._embed(events, following)
        for block in self.body:
            state = block(state)
        return cast(Tensor, self.body_norm(state))

    def _embed(self, events: Tensor, following: Tensor | None = None) -> Tensor:
        """Item rows, or events with the behaviour that follows each, ``(batch, longest)`` -> inputs
        ``(batch, longest, dim)``.
        """
        items = items_of(events, self.n_behaviours).clamp_min(0)
        state = self._item_inputs(items, self.training)  # (batch, longest, dim)
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

    def _descend(self, state: Tensor, level: int) -> Tensor:
        """Hidden states plus prefixes ``(..., dim)`` -> states to score the level's codes with."""
        for block in self.depth:
            state = block(state, level)
        return cast(Tensor, self.drop(self.depth_norm(state)))

    def _logits(self, state: Tensor, level: int) -> Tensor:
        """States ``(..., dim)`` -> logits ``(..., codes of the level)``."""
        start = sum(self.sizes[:level])
        stop = start + self.sizes[level]
        weight = self.code_embedding.weight[1 + start : 1 + stop]
        return F.linear(state, weight, self.output_bias[start:stop])


class _Table(NamedTuple):
    """What stands for each item in the softmax over items, when ranking.

    Attributes:
        tokens: of the catalogue that it was made of.
        items: float32 ``(n_items, dim)``.
        rough: the same, in bfloat16 where that is fast: it finds the likely items.
    """

    tokens: Tensor
    items: Tensor
    rough: Tensor

    @classmethod
    def of(cls, tokens: Tensor, items: Tensor) -> _Table:
        """A table of items ``(n_items, dim)`` and of its rough copy."""
        return cls(tokens, items, items.to(torch.bfloat16) if has_bfloat16() else items)


class _There(NamedTuple):
    """The content of the items that are there.

    Attributes:
        tokens: of the catalogue that they are of.
        content: float32 ``(n, d_content)``, each of length one.
    """

    tokens: Tensor
    content: Tensor


class RqtDecoder:
    """Scores the next code of prefixes; the history is one vector per user by now."""

    over_legal = True

    def __init__(
        self, model: Rqt, hidden: Tensor, likely: _Finder | None, asked: Asked | None = None
    ) -> None:
        self.asked = asked
        self._likely = likely
        self._allowed: Tensor | None = None
        self._model = model
        self._hidden = hidden[:, None]  # (batch, 1, dim)
        self._prefix = torch.zeros_like(self._hidden)  # (batch, beams, dim)
        self._level = 0

    def limit(self, allowed: Tensor) -> None:
        """See `Decoder.limit`: likely items are looked for among those allowed."""
        self._allowed = allowed

    @cached_property
    @torch.no_grad()
    def retrieved(self) -> Retrieved | None:
        """What the softmax over items finds likely among the items that are allowed."""
        likely, self._likely = self._likely, None  # which holds scores of all items
        return None if likely is None else likely(self._allowed)

    @torch.no_grad()
    def log_probs(self, is_open: Tensor | None = None) -> Tensor:
        """float32 ``(batch, beams, codes)``: scores of each next code, up to a constant; 0 after
        prefixes that are not open: most at the later levels of a catalogue.
        """
        model, level = self._model, self._level
        state = self._hidden + self._prefix  # (batch, beams, dim)
        if is_open is None:
            return model._logits(model._descend(state, level), level).float()
        scores = torch.zeros((*is_open.shape, model.sizes[level]), device=state.device)
        if bool(is_open.any()):
            scores[is_open] = model._logits(model._descend(state[is_open], level), level).float()
        return scores

    @torch.no_grad()
    def advance(self, parents: Tensor, codes: Tensor) -> None:
        """Keep the prefixes ``parents`` (int64 ``(batch, beams)``), each longer by its code."""
        start = 1 + sum(self._model.sizes[: self._level])
        kept = self._prefix.gather(1, parents[..., None].expand(-1, -1, self._prefix.shape[2]))
        self._prefix = kept + self._model.prefix_embedding.weight[codes + start]
        self._level += 1


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


def _collate(windows: Histories, rows: Rows) -> tuple[Tensor, ...]:
    """A batch as groups of similar length, which pad little."""
    by_length = rows[np.argsort(windows.lengths[rows], kind="stable")]
    groups = np.array_split(by_length, min(_GROUPS, len(rows)))
    return tuple(torch.from_numpy(windows.take(group).padded()) for group in groups)


def _are_taken_once(histories: Histories) -> bool:
    """Whether hardly anyone comes back to an item."""
    return _share_of_repeats(histories) < _FEW_REPEATS


def _share_of_repeats(histories: Histories) -> float:
    """The share of interactions with an item that the same sequence had before.

    >>> _share_of_repeats(Histories.from_lists([[1, 2, 1, 3], [1, 2, 3, 4]]))
    0.125
    """
    sequence = np.repeat(np.arange(len(histories)), histories.lengths)
    pairs = sequence * (histories.items.max(initial=0) + 1) + histories.items
    return 1 - len(np.unique(pairs)) / max(1, len(pairs))
