"""The trained model of a run as an engine asks it: what ranks a catalogue, and what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.baselines import Baseline
from letterrec.data import Histories
from letterrec.decoding.ranker import PersonalRanker, Ranker
from letterrec.errors import RequestError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders import Recommender
from letterrec.serving.catalogue.items import Catalogue
from letterrec.training.devices import device


class Model(ABC):
    """What ranks the items of a catalogue.

    Args:
        name: of the recommender or baseline, as settings have it.

    Attributes:
        generates: whether it spells identifiers by beam search, its scores being natural
            log-probabilities; one that does not gives items scores of its own.
        follows_instructions: whether it was trained on wishes in words.
        reads_behaviours: whether it tells behaviours apart and may be asked for any of them.
        predicts_behaviours: whether it says by which behaviour the next item comes.
    """

    generates: bool
    follows_instructions: bool
    reads_behaviours: bool
    predicts_behaviours: bool

    def __init__(self, name: str) -> None:
        self._name = name

    def check_searches(self) -> None:
        """Refuse a beam where nothing is searched.

        Raises:
            RequestError: all items are scored instead.
        """
        if not self.generates:
            raise RequestError(
                f"the run's recommender {self._name!r} scores all items and searches with no beam; "
                "leave the beam out"
            )

    def check_follows(self) -> None:
        """Refuse an instruction where none is read.

        Raises:
            RequestError: the recommender was not trained on any.
        """
        if not self.follows_instructions:
            raise RequestError(
                "the run was not trained to follow instructions; fit with: --set "
                "wishes.enabled=true (recommender rqt), or --recipe lcrec --set "
                "recommender.tasks.query=1"
            )

    @abstractmethod
    def ranker(self, catalogue: Catalogue) -> Ranker:
        """What ranks this catalogue."""

    @abstractmethod
    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None,
        absent: NDArray[np.int64],
        texts: Sequence[str] | None,
    ) -> None:
        """Go on with the same items and possibly more behind them."""

    def meets(self, instruction: str, allowed: Tensor | None = None) -> bool:
        """Whether the catalogue has anything near what an instruction asks for; true where that is
        not known.

        Args:
            instruction: what is wanted, in words.
            allowed: bool ``(n_rows,)`` on the device: the items that may come back; None: all.
        """
        return True

    def next_behaviours(self, histories: Histories) -> NDArray[np.float32]:
        """float32 ``(n, n_behaviours)``: how likely the next item comes by each behaviour.

        Args:
            histories: item rows with their behaviours, at least one each.

        Raises:
            RequestError: it does not predict that.
        """
        raise RequestError("the run's recommender does not predict behaviours")

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the model as a folder that loads without LetterRec.

        Raises:
            RequestError: it is no language model.
        """


class GenerativeModel(Model):
    """A generative recommender, which searches the trie of identifiers.

    Args:
        name: of the recommender.
        recommender: trained, in eval mode.
        beam: prefixes kept per level where queries do not say.
    """

    def __init__(self, name: str, recommender: Recommender, beam: int) -> None:
        super().__init__(name)
        self._recommender, self._beam = recommender, beam
        self.generates = recommender.searches
        self.follows_instructions = recommender.follows_instructions
        self.reads_behaviours = recommender.n_behaviours > 1
        self.predicts_behaviours = recommender.predicts_behaviours

    def ranker(self, catalogue: Catalogue) -> Ranker:
        """Beam search over the catalogue's trie, or what the recommender ranks by instead."""
        assert catalogue.trie is not None
        return self._recommender.ranker(
            catalogue.trie,
            catalogue.popularity,
            transitions=catalogue.transitions,
            beam=self._beam,
        )

    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None,
        absent: NDArray[np.int64],
        texts: Sequence[str] | None,
    ) -> None:
        """See `Recommender.set_catalogue`."""
        self._recommender.set_catalogue(identifiers, content, absent, texts)

    def meets(self, instruction: str, allowed: Tensor | None = None) -> bool:
        """See `Recommender.meets`."""
        return self._recommender.meets(instruction, allowed)

    def next_behaviours(self, histories: Histories) -> NDArray[np.float32]:
        """See `Recommender.next_behaviours`."""
        recommender = self._recommender
        events = histories.events(recommender.n_behaviours).padded(recommender.max_history)
        found = recommender.next_behaviours(torch.from_numpy(events).to(device()))
        return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def export(self, folder: Path) -> None:
        """See `Recommender.export`."""
        self._recommender.export(folder)


class ScoringModel(Model):
    """A baseline, which scores the items that it was trained on.

    Args:
        name: of the baseline, as people know it.
        baseline: trained, in eval mode, on its device.
        reads: bool ``(n_behaviours,)``: the behaviours that it was trained on; None: all.
    """

    generates = False
    follows_instructions = False
    reads_behaviours = False
    predicts_behaviours = False

    def __init__(
        self, name: str, baseline: Baseline, reads: NDArray[np.bool_] | None = None
    ) -> None:
        super().__init__(name)
        self._ranker = PersonalRanker(baseline, device(), reads)

    def ranker(self, catalogue: Catalogue) -> Ranker:
        """All items that the catalogue has: those trained on."""
        return self._ranker

    def set_catalogue(
        self,
        identifiers: Identifiers,
        content: Tensor | None,
        absent: NDArray[np.int64],
        texts: Sequence[str] | None,
    ) -> None:
        """Nothing: an item that was not trained on has no score, and none can be added."""

    def export(self, folder: Path) -> None:
        """Refuse.

        Raises:
            RequestError: always.
        """
        raise RequestError(
            f"the run has the baseline {self._name!r}, which is no language model; fit one with: "
            "letterrec fit SOURCE --out RUN --recipe lcrec"
        )
