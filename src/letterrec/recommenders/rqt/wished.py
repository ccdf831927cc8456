"""Histories and wishes read together by rqt: what wishes change in what is likely next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from letterrec.decoding.wish_effect import WishEffect
from letterrec.linear.retrieved import Retrieved
from letterrec.nn.behaviours import items_of
from letterrec.recommenders.rqt.decoder import RqtDecoder
from letterrec.recommenders.rqt.likely import ItemTable, Likely
from letterrec.recommenders.rqt.network import Network
from letterrec.recommenders.wishes.following import ReadWishes, Wishes, phrases
from letterrec.recommenders.wishes.reader import WishReader


@dataclass(frozen=True, eq=False)
class Wished:
    """Reads histories and wishes; either may be missing of a query.

    Attributes:
        network: reads histories.
        wishes: reads wishes.
        ranked: of the network's softmax over items; None where it has none.
        table: of the items where wishes are read, as `wished_items` gives them.
        share: of the probability that the softmax over items has in the ranking.
    """

    network: Network
    wishes: Wishes
    ranked: ItemTable | None
    table: ItemTable
    share: float

    def decoder(
        self, histories: Tensor, instructions: Sequence[str | None], behaviours: Tensor | None
    ) -> RqtDecoder:
        """As of `Rqt.encode`."""
        if not histories.shape[1]:
            histories = F.pad(histories, (0, 1), value=-1)
        network, reader, device = self.network, self.wishes.reader, histories.device
        read = self.wishes.read(instructions, device)
        latest = network.latest(histories, behaviours)
        before = reader.begun(latest, (histories >= 0).any(1))  # (batch, dim)
        hidden = reader.wished(before, read.wanted, read.has_wish)
        items = items_of(histories, network.n_behaviours)
        query, scores, evidence = self._gained(before, hidden, read, items)
        likely = Likely(self.table, query, scores, self.share)

        def find(allowed: Tensor | None) -> Retrieved:
            found = likely.among(allowed)
            if self.ranked is not None:
                return found
            return found._replace(shares=found.shares * read.has_wish[:, None])  # else codes alone

        permitted = None
        if ruled_out := phrases(read.excluded):
            spoken_for = self._spoken_for(self.wishes.embedded(ruled_out, device))
            permitted = self.wishes.permitted(read.excluded, spoken_for)
        memory = torch.where(read.has_wish[:, None], reader.memory, 1.0)
        effect = WishEffect(evidence * reader.sharpness, memory, permitted)
        return RqtDecoder(network, hidden, find if self.share else None, effect)

    def _spoken_for(self, phrases: Tensor) -> Tensor:
        """float32 ``(n, n_items)``: the evidence of phrases ``(n, d_content)`` alone."""
        reader = self.wishes.reader
        everywhere = torch.ones(len(phrases), dtype=torch.bool, device=phrases.device)
        read = ReadWishes(phrases, everywhere, [])
        alone = reader.alone.expand(len(phrases), -1)
        hidden = reader.wished(alone, phrases, everywhere)
        nothing = torch.full((len(phrases), 1), -1, device=phrases.device)
        return self._gained(alone, hidden, read, nothing)[2]

    def _gained(
        self, before: Tensor, hidden: Tensor, read: ReadWishes, histories: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What wishes change in what is likely, from states ``(batch, dim)`` to others.

        Returns:
            What finds the items ``(batch, d)``, their rough scores float32 ``(batch, n_items)``,
            and by how much they are likelier than before, in nats, the same shape.
        """
        network, reader = self.network, self.wishes.reader
        taken = histories if reader.taken_once else None
        query = reader.queries(hidden, read.wanted, read.has_wish)
        if network.item_query is None or self.ranked is None:
            first = reader.queries(before, read.wanted, torch.zeros_like(read.has_wish))
            prior = self.table.scores(first, network.gone, taken)
        else:
            prior = self.ranked.scores(network.item_query(before), network.gone, taken)
            query = torch.cat([network.item_query(hidden), query * read.has_wish[:, None]], 1)
        scores = self.table.scores(query, network.gone, taken)
        gained = scores.log_softmax(1) - prior.log_softmax(1)
        return query, scores, gained.masked_fill(~gained.isfinite(), 0.0)


def wished_items(network: Network, reader: WishReader, ranked: ItemTable | None) -> ItemTable:
    """What stands for items where wishes are read: behind that of the softmax over items."""
    assert network.content is not None
    items = reader.items(network.content)
    return ItemTable.of(items if ranked is None else torch.cat([ranked.items, items], 1))


def unit_content(network: Network) -> Tensor:
    """float32 ``(n_items, d_content)``: the content of the items, each of length one; zeros of
    those that are there no more.
    """
    assert network.content is not None
    content = F.normalize(network.content, dim=1)
    content[network.gone] = 0.0
    return content
