"""What a recommender needs to follow wishes: what reads them, their embeddings, items' words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from letterrec.embeddings.query_encoder import QueryEncoder
from letterrec.recommenders.wishes.excluding import WordIndex
from letterrec.recommenders.wishes.parsing import Wish
from letterrec.recommenders.wishes.reader import WishReader


class ReadWishes(NamedTuple):
    """The wishes of a batch of queries.

    Attributes:
        wanted: float32 ``(batch, d_content)`` embeddings of what is wanted; zeros where nothing.
        has_wish: bool ``(batch,)``: where something is wanted.
        excluded: for each query the phrases that are ruled out.
    """

    wanted: Tensor
    has_wish: Tensor
    excluded: list[tuple[str, ...]]


class Wishes:
    """Reads wishes for a recommender; what was trained of it is its reader.

    Args:
        reader: the network.
        encoder: of the words of wishes, that of the items' content.
        texts: one per item of the catalogue, title first.
    """

    def __init__(self, reader: WishReader, encoder: QueryEncoder, texts: Sequence[str]) -> None:
        self.reader = reader
        self.encoder = encoder
        self.words = WordIndex(texts)

    def read(self, instructions: Sequence[str | None], device: torch.device) -> ReadWishes:
        """The wishes of queries; None where one has none."""
        wishes = [Wish.parse(text or "") for text in instructions]
        has_wish = torch.tensor([bool(wish.wanted) for wish in wishes], device=device)
        wanted = torch.zeros(len(wishes), self.reader.wish_input.in_features, device=device)
        texts = [wish.wanted for wish in wishes if wish.wanted]
        if texts:
            wanted[has_wish] = self.embedded(texts, device)
        return ReadWishes(wanted, has_wish, [wish.excluded for wish in wishes])

    def embedded(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """float32 ``(n, d_content)`` of at least one text, each of length one."""
        return torch.from_numpy(self.encoder(texts)).to(device)

    def is_met(self, instruction: str, content: Tensor, allowed: Tensor | None = None) -> bool:
        """Whether any item that may come back is near what a wish asks for; true of a wish that
        only rules out.

        Args:
            instruction: the wish.
            content: float32 ``(n_items, d_content)``, each of length one.
            allowed: bool, for the first of these items: which may come back; None: all.
        """
        wish = Wish.parse(instruction)
        if not wish.wanted:
            return True
        wanted = self.embedded([wish.wanted], content.device)[0]
        near = content @ wanted >= self.reader.near
        return bool((near if allowed is None else near[: len(allowed)] & allowed).any())

    def permitted(self, excluded: Sequence[tuple[str, ...]], evidence: Tensor) -> Tensor:
        """bool ``(batch, n_items)``: the items that wishes do not rule out.

        A phrase rules out the items that have its words, and those that it predicts; not those
        that say they are free of it.

        Args:
            excluded: for each query phrases.
            evidence: float32 ``(n_phrases, n_items)``: in nats, by how much each distinct phrase,
                in the order of `phrases`, predicts each item.
        """
        n_items, distinct = evidence.shape[1], phrases(excluded)
        ruled_out = evidence > self.reader.excluded_from
        for line, phrase in zip(ruled_out, distinct, strict=True):
            having, free = (
                torch.from_numpy(rows[rows < n_items]).to(line.device)
                for rows in self.words.having(phrase)
            )
            line[free] = False
            line[having] = True
        place = {phrase: i for i, phrase in enumerate(distinct)}
        permitted = torch.ones(len(excluded), n_items, dtype=torch.bool, device=evidence.device)
        for line, each in zip(permitted, excluded, strict=True):
            for phrase in each:
                line &= ~ruled_out[place[phrase]]
        return permitted


def phrases(excluded: Sequence[tuple[str, ...]]) -> list[str]:
    """The distinct phrases of a batch."""
    return list(dict.fromkeys(phrase for each in excluded for phrase in each))
