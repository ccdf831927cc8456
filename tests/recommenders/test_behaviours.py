"""Recommenders that tell behaviours apart, on data where a view means the opposite of a buy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from behaviours import (
    BUY,
    N_ITEMS,
    NAMES,
    VIEW,
    asked,
    identifiers,
    planted,
    turns,
    without_behaviours,
)
from letterrec.decoding.beam_search import search
from letterrec.decoding.ranker import EventRanker, Queries
from letterrec.decoding.trie import Trie
from letterrec.linear.transition_fitting import learn_transitions
from letterrec.nn.sasrec import SASRec
from letterrec.recommenders.base import Features, Recommender
from letterrec.recommenders.lcrec.model import LcRec
from letterrec.recommenders.lcrec.tasks import TASKS, Case, PromptPart, history
from letterrec.recommenders.rqt.model import Rqt
from letterrec.recommenders.tiger.model import Tiger
from letterrec.training.options import TrainingOptions

TITLES = [f"Lamp {n}" for n in range(N_ITEMS)]
KNOWING = Features(behaviours=NAMES, targets=(BUY,))
UNKNOWING = Features()
SMALL: dict[str, Any] = {"dim": 32, "heads": 2, "depth_layers": 1, "dropout": 0.05}
SMALL_T5: dict[str, Any] = {
    **{"dim": 32, "layers": 1, "heads": 2, "head_dim": 16, "feed_forward": 64, "dropout": 0.0},
    "max_history": 1,
}


def rqt(features: Features) -> Rqt:
    return Rqt.build(identifiers(), features, **SMALL)


def tiger(features: Features) -> Tiger:
    return Tiger.build(identifiers(), features, **SMALL_T5)


def fitted(make: Callable[[Features], Recommender], features: Features, epochs: int) -> Recommender:
    torch.manual_seed(0)
    model = make(features)
    histories = planted(300)
    known = histories if features.behaviours else without_behaviours(histories)
    model.fit(known, TrainingOptions(epochs=epochs, batch_size=64, learning_rate=1e-2))
    return model.eval()


def found(model: Recommender, behaviour: int | None = None) -> float:
    """The share of histories whose answer comes first."""
    histories, targets = asked(200)
    ranker = model.ranker(Trie.build(identifiers()), np.ones(N_ITEMS, dtype=np.int64))
    wanted = None if behaviour is None else np.full(len(histories), behaviour)
    answers = ranker.rank(Queries(histories, 1, behaviours=wanted)).items[:, 0].numpy()
    return float((answers == targets).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("make", "epochs"), [(rqt, 4), (tiger, 18)])
def test_what_is_bought_next_is_found_only_by_who_knows_behaviours(
    make: Callable[[Features], Recommender], epochs: int
) -> None:
    knowing = fitted(make, KNOWING, epochs)
    assert found(knowing) >= 0.9
    assert found(knowing, BUY) == found(knowing)  # the one target is what is asked for
    assert found(knowing, VIEW) <= 0.1  # another question has other answers
    assert found(fitted(make, UNKNOWING, epochs)) <= 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "cycle", "epochs"), [(rqt, (VIEW, VIEW, BUY), 3), (tiger, (VIEW, BUY), 4)]
)
def test_the_next_behaviour_is_predicted(
    make: Callable[[Features], Recommender], cycle: tuple[int, ...], epochs: int
) -> None:
    """A buy comes when all views of its turn were there: after two of them, or after one."""
    torch.manual_seed(0)
    model = make(KNOWING)
    assert model.predicts_behaviours
    model.fit(turns(150, cycle), TrainingOptions(epochs=epochs, batch_size=64, learning_rate=1e-2))
    histories = turns(60, cycle, length=5, seed=1)
    assert histories.behaviours is not None
    latest = histories.behaviours.reshape(60, 5)[:, 1 - len(cycle) :]
    is_next = torch.from_numpy((latest == VIEW).all(1))  # a buy
    events = torch.from_numpy(histories.events(2).padded(model.max_history))
    odds = model.eval().next_behaviours(events)
    torch.testing.assert_close(odds.sum(1), torch.ones(60))
    assert ((odds[:, BUY] > 0.5) == is_next).float().mean() >= 0.9


def test_the_next_behaviour_is_not_predicted_where_it_has_no_weight() -> None:
    for features, settings in ((UNKNOWING, {}), (KNOWING, {"behaviour_weight": 0.0})):
        model = Rqt.build(identifiers(), features, **SMALL, **settings)
        assert not model.predicts_behaviours
        assert not any("next_behaviour" in name for name in model.state_dict())


def test_weights_of_before_there_was_a_head_predict_no_behaviour() -> None:
    weights = Rqt.build(identifiers(), KNOWING, **SMALL, behaviour_weight=0.0).state_dict()
    model = Rqt.build(identifiers(), KNOWING, **SMALL)
    assert model.predicts_behaviours
    model.load_state_dict(weights)
    assert not model.predicts_behaviours
    assert model.state_dict().keys() == weights.keys()


def test_transitions_of_views_and_of_buys() -> None:
    """In the ring a buy predicts the next item, a view the one opposite."""
    transitions, _ = learn_transitions(
        planted(300), N_ITEMS, ridge=10.0, n_behaviours=2, targets=(BUY,)
    )
    items = np.arange(N_ITEMS)
    table = transitions.table.toarray().reshape(N_ITEMS, 2, N_ITEMS)
    assert (table[:, BUY].argmax(1) == (items + 1) % N_ITEMS).all()
    assert (table[:, VIEW].argmax(1) == (items + N_ITEMS // 2) % N_ITEMS).all()

    events = torch.tensor([[2 * 3 + VIEW], [2 * 3 + BUY]])
    retrieved = transitions.retrieve(events)
    assert retrieved.items[:, 0].tolist() == [9, 4]
    assert transitions.of_context is not None  # what is viewed next: the other way round
    context = transitions.of_context.toarray().reshape(N_ITEMS, 2, N_ITEMS)
    assert (context[:, BUY].argmax(1) == (items + N_ITEMS // 2) % N_ITEMS).all()
    other = transitions.retrieve(events, behaviours=torch.tensor([-1, VIEW]))
    assert other.shares[0].sum() > 0
    assert other.shares[1].sum() == 0  # what will be viewed was not learned


def test_how_far_the_behaviours_of_an_item_may_differ() -> None:
    """Not at all, a little, or as far as items do; a little is enough to tell opposites apart."""
    rows: dict[float, np.ndarray[Any, Any]] = {}
    for own in (0.0, 0.4, 1.0):
        made, _ = learn_transitions(
            planted(300), N_ITEMS, ridge=10.0, n_behaviours=2, targets=(0,), own=own
        )
        assert made.own == own
        rows[own] = made.table.toarray().reshape(N_ITEMS, 2, N_ITEMS)
    np.testing.assert_array_equal(rows[0.0][:, BUY], rows[0.0][:, VIEW])
    apart = {own: float(np.abs(w[:, BUY] - w[:, VIEW]).sum()) for own, w in rows.items()}
    assert 0 < 2 * apart[0.4] < apart[1.0]
    assert (rows[0.4][:, BUY].argmax(1) == (np.arange(N_ITEMS) + 1) % N_ITEMS).all()


def test_transitions_come_back_and_grow(tmp_path: Path) -> None:
    transitions, _ = learn_transitions(
        planted(100), N_ITEMS, ridge=10.0, n_behaviours=2, targets=(BUY,)
    )
    wider = replace(transitions.with_context(0.5), own=0.4)
    wider.save(tmp_path / "t.safetensors", {})
    again = type(transitions).load(tmp_path / "t.safetensors")
    assert (again.n_behaviours, again.targets, again.n_items) == (2, (BUY,), N_ITEMS)
    assert (again.table != wider.table).nnz == 0
    assert (again.table != transitions.table).nnz > 0
    assert (again.context, again.own) == (0.5, 0.4)

    content = np.eye(N_ITEMS, dtype=np.float32)
    grown = transitions.grown(content, content[3:4])  # an item as the third
    table = grown.table.toarray().reshape(N_ITEMS + 1, 2, N_ITEMS + 1)
    assert (table[N_ITEMS].argmax(1) == [4, 9]).all()
    moved = transitions.at_rows(np.arange(N_ITEMS)[::-1].copy(), N_ITEMS)
    before = transitions.table.toarray().reshape(N_ITEMS, 2, N_ITEMS)
    after = moved.table.toarray().reshape(N_ITEMS, 2, N_ITEMS)
    assert (after == before[::-1, :, ::-1]).all()


@pytest.mark.slow
def test_the_cf_network_knows_behaviours() -> None:
    from letterrec.training.loop import random_batches, train

    windows = planted(300).events(2).windows(21)
    torch.manual_seed(0)
    model = SASRec(n_items=N_ITEMS, n_behaviours=2, targets=[BUY], dropout=0.05)
    options = TrainingOptions(epochs=16, batch_size=64, learning_rate=1e-2)

    def collate(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        padded = torch.from_numpy(windows.take(rows).padded())
        return padded[:, :-1], padded[:, 1:]

    train(
        model,
        batches=lambda epoch: random_batches(len(windows), options, epoch, at_least=20),
        collate=collate,
        options=options,
    )
    histories, targets = asked(200)
    ranker = EventRanker(model.eval(), torch.device("cpu"), n_behaviours=2)
    answers = ranker.rank(Queries(histories, 1)).items[:, 0].numpy()
    assert (answers == targets).mean() >= 0.9


@pytest.mark.parametrize("make", [rqt, tiger])
def test_a_batch_of_several_questions_is_answered_as_each_alone(
    make: Callable[[Features], Recommender],
) -> None:
    torch.manual_seed(0)
    model = make(Features(behaviours=("cart", "buy", "view"), targets=(0, 1))).eval()
    histories, _ = asked(9)
    ranker = model.ranker(Trie.build(identifiers()), np.ones(N_ITEMS, dtype=np.int64))
    wanted = np.arange(9) % 4 - 1
    together = ranker.rank(Queries(histories, N_ITEMS, behaviours=wanted))
    for row in range(9):
        at = np.array([row])
        alone = ranker.rank(Queries(histories.take(at), N_ITEMS, behaviours=wanted[at]))
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-4, rtol=1e-4)


def test_a_word_stands_before_each_item_of_a_prompt(tiny_model: Path) -> None:
    torch.manual_seed(0)
    features = Features(titles=TITLES, texts=TITLES, behaviours=NAMES, targets=(BUY,))
    model = LcRec.build(identifiers(), features, model=str(tiny_model), dtype="float32")
    tokenizer = model.prompts.tokenizer

    def words(parts: list[PromptPart]) -> str:
        """What a prompt says, with ``#`` for each code."""
        tokens = model.prompts.example(parts).tokens
        return "".join("#" if t >= model.first_code else tokenizer.decode([t]) for t in tokens)

    events = (2 * 3 + VIEW, 2 * 5 + BUY)
    random = np.random.default_rng(0)
    case = Case(events, N_ITEMS, TITLES, TITLES, random, n_behaviours=2)
    assert words(TASKS["seqrec"](case)).endswith("oldest first:  view: ## buy: ##")
    wanted = [i for i in model.prompts.example(TASKS["seqrec"](case)).items if i >= 0]
    assert wanted == [5, 5]  # the codes of the item
    marked = model.prompts.example(TASKS["seqrec"](case)).is_text
    assert sum(marked) == len(model.prompts.behaviour(BUY))  # and the word before them
    assert case.title(events[0]) == TITLES[3]
    assert words(TASKS["index2item"](case)).count("Identifier: ##") == 1  # no behaviour

    histories, _ = asked(4)
    given = torch.from_numpy(histories.events(2).padded())
    trie = Trie.build(identifiers())
    scores = [
        search(model.encode(given, None, wanted), trie, beam=12, k=12)[1]
        for wanted in (None, torch.full((4,), BUY), torch.full((4,), VIEW))
    ]
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])

    def said(behaviour: int) -> torch.Tensor:
        """The log-probability of the words of a behaviour behind the first history."""
        example = model.prompts.example(history([e for e in given[0].tolist() if e >= 0]))
        word = model.prompts.behaviour(behaviour)
        example.add(word)
        states = model.read(torch.tensor(example.tokens)[None])[0, -len(word) - 1 : -1]
        logits: torch.Tensor = model.network.get_output_embeddings()(states).log_softmax(1)
        return logits.gather(1, torch.tensor(word)[:, None]).sum()

    odds = model.next_behaviours(given)
    torch.testing.assert_close(odds.sum(1), torch.ones(4))
    with torch.no_grad():
        expected = said(BUY) - said(VIEW)
    torch.testing.assert_close((odds[0, BUY] / odds[0, VIEW]).log(), expected, atol=1e-3, rtol=1e-3)


def test_one_kind_of_interaction_changes_nothing() -> None:
    """The weights drawn, and what is made of them, are those of a model without behaviours."""
    for make in (rqt, tiger):
        torch.manual_seed(0)
        plain = make(UNKNOWING).eval()
        assert not any("behaviour" in name for name in plain.state_dict())
        histories, _ = asked(5)
        ranker = plain.ranker(Trie.build(identifiers()), np.ones(N_ITEMS, dtype=np.int64))
        one, other = (
            ranker.rank(Queries(h, N_ITEMS)) for h in (histories, without_behaviours(histories))
        )
        assert torch.equal(one.scores, other.scores)
