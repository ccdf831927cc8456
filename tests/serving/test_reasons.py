"""Explanations: what followed what, and parts that are those of the search."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import letterrec
from letterrec.data.sequences import Histories
from letterrec.serving.queries import Query
from letterrec.serving.reasons import Reasons


def explained(training: list[list[int]], run: Path, history: list[int], item: int) -> int:
    """In how many training histories the item followed the first one of ``history``."""
    engine = letterrec.load(run)
    reasons = Reasons(Histories.from_lists(training), engine.content, 20, True)
    (account,) = reasons.explain(engine.catalogue, history, [(item, math.log(0.5))])
    return {why.row: why.followed for why in account.reasons}[history[0]]


def test_histories_are_counted_in_which_an_item_came_after_another(shop_run: Path) -> None:
    far = [5, *range(10, 31), 6]
    training = [[5, 6], [6, 5], [5, 7, 6, 5, 6], far, [6, 7, 5], [5], [], [5, *far[3:]]]
    assert explained(training, shop_run, [5], 6) == 3


def test_an_item_that_training_lacks_followed_nothing(shop_run: Path) -> None:
    assert explained([[1, 2]], shop_run, [5], 6) == 0


def test_the_parts_are_those_of_the_search(shop_run: Path) -> None:
    engine = letterrec.load(shop_run)
    learned = engine.catalogue.transitions
    assert learned is not None
    transitions = replace(learned, weight=0.3)  # whatever validation has chosen
    catalogue = engine.catalogue = replace(engine.catalogue, transitions=transitions)
    rng = np.random.default_rng(0)
    for length in (1, 3, 30):
        history = rng.integers(60, size=length).tolist()
        ids = [catalogue.item_ids[row] for row in history]
        query = engine.prepare(Query(ids, 10, exclude_seen=True))
        (answer,) = engine.answer([query])
        retrieved = transitions.retrieve(torch.tensor([history[-20:]]), torch.tensor([history]))
        accounts = engine.reasons.explain(catalogue, history, answer)
        for (row, score), account in zip(answer, accounts, strict=True):
            assert account.recommender is not None
            shares = [why.share for why in account.reasons]
            assert account.recommender + sum(shares) == pytest.approx(1, abs=1e-5)
            (alone,) = transitions.origins(history[-20:], [row], retrieved).sum(0).tolist()
            assert sum(shares) * math.exp(score) == pytest.approx(alone, abs=1e-5)


def test_what_is_retrieved_for_an_item_is_part_of_all_with_its_identifier(shop_run: Path) -> None:
    engine = letterrec.load(shop_run)
    learned = engine.catalogue.transitions
    assert learned is not None
    transitions, history = replace(learned, weight=0.3), [3, 8, 5]
    retrieved = transitions.retrieve(torch.tensor([history]), torch.tensor([history]))
    one, share = int(retrieved.items[0, 0]), float(retrieved.shares[0, 0])
    others = sorted(set(range(engine.catalogue.n_items)) - set(retrieved.items[0].tolist()))
    other, alone = others[:2]
    identifiers = engine.catalogue.identifiers
    codes = identifiers.codes.copy()
    codes[other] = codes[one]
    catalogue = replace(
        engine.catalogue, transitions=transitions, identifiers=replace(identifiers, codes=codes)
    )
    answer = [(row, math.log(2 * share)) for row in (one, other, alone)]
    accounts = engine.reasons.explain(catalogue, history, answer)
    assert [account.recommender for account in accounts] == pytest.approx([0.5, 0.5, 1])
