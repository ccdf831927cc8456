"""The probabilities that are trained on are those that rank."""

from __future__ import annotations

import pytest
import torch

from contract_recommender import MIXED, N_ITEMS, planted_identifiers, random_histories
from letterrec.decoding.beam_search import search
from letterrec.decoding.trie import Trie
from letterrec.identifiers.identifiers import Identifiers
from letterrec.recommenders.rqt.model import Rqt

SMALL = {"max_history": 6, "dim": 32, "heads": 2, "depth_layers": 1}


def drawn(identifiers: Identifiers, share: float) -> Rqt:
    """A recommender whose items differ clearly."""
    torch.manual_seed(0)
    recommender = Rqt(identifiers, **SMALL, item_share=share).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in recommender.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return recommender


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_items_are_as_probable_as_the_search_finds_them(share: float) -> None:
    identifiers = planted_identifiers()
    recommender, trie = drawn(identifiers, share), Trie.build(identifiers)
    histories = random_histories(5, N_ITEMS)
    items, expected = search(recommender.encode(histories), trie, beam=N_ITEMS, k=N_ITEMS)
    with torch.no_grad():
        found = recommender.item_log_probs(histories, items)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_items_of_shorter_identifiers_too() -> None:
    recommender, trie, n = drawn(MIXED, 0.0), Trie.build(MIXED), MIXED.n_items
    histories = random_histories(5, n)
    items, expected = search(recommender.encode(histories), trie, beam=n, k=n)
    with torch.no_grad():
        found = recommender.item_log_probs(histories, items)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_what_the_softmax_leaves_out_has_the_share_of_its_codes() -> None:
    recommender = drawn(planted_identifiers(), 0.6)
    recommender.taken_once.fill_(True)
    histories, items = torch.tensor([[3, 1]]), torch.arange(N_ITEMS)[None]
    with torch.no_grad():
        found = recommender.item_log_probs(histories, items)[0]
        recommender.item_share = 0.0
        of_codes = recommender.item_log_probs(histories, items)[0]
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-4)
    for taken in (1, 3):
        assert found[taken].exp().item() == pytest.approx(0.4 * of_codes[taken].exp().item(), 1e-4)
