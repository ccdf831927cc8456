"""Identifiers for items that nobody has used yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import letterrec
from contract_tokenizer import CF, CONTENT, GROUP, training
from letterrec.runs.run import Run
from letterrec.tokenizers import Items
from letterrec.tokenizers.letter import LetterTokenizer
from letterrec.tokenizers.new_items import assign_new, estimate_cf


def test_an_estimate_follows_the_items_with_like_content() -> None:
    draw = np.random.default_rng(0)
    groups = draw.integers(3, size=90)
    content = (np.eye(3)[groups] + 0.05 * draw.normal(size=(90, 3))).astype(np.float32)
    tastes = draw.normal(size=(3, 8))
    cf = (5 + tastes[groups] + 0.1 * draw.normal(size=(90, 8))).astype(np.float32)
    new = np.eye(3, dtype=np.float32)
    estimates = estimate_cf(content, cf, new)
    assert estimates.shape == (3, 8)
    directions = estimates - cf.mean(0)
    for group in range(3):
        expected = cf[groups == group].mean(0) - cf.mean(0)
        cosine = directions[group] @ expected
        cosine /= np.linalg.norm(directions[group]) * np.linalg.norm(expected)
        assert cosine > 0.98
    lengths = np.linalg.norm(cf - cf.mean(0), axis=1)
    assert np.allclose(np.linalg.norm(directions, axis=1), lengths.mean(), rtol=1e-4)


def test_estimates_come_in_blocks_as_one_by_one() -> None:
    draw = np.random.default_rng(1)
    content, new = (draw.normal(size=(n, 6)).astype(np.float32) for n in (50, 1100))
    cf = draw.normal(size=(50, 4)).astype(np.float32)
    together = estimate_cf(content, cf, new)
    alone = np.concatenate([estimate_cf(content, cf, new[i : i + 1]) for i in (0, 1023, 1024)])
    assert np.allclose(together[[0, 1023, 1024]], alone, atol=1e-5)


def test_new_items_get_identifiers_of_their_own(shop_run: Path) -> None:
    engine = letterrec.load(shop_run)
    assert engine.content is not None
    taken = engine.identifiers.codes
    tokenizer = Run.open(shop_run).tokenizer()
    codes = assign_new(tokenizer, Items(engine.content), engine.content, taken)
    assert len(np.unique(np.concatenate([codes, taken]), axis=0)) == 120


@pytest.mark.slow
def test_a_new_item_gets_the_first_code_of_its_group() -> None:
    """The planted groups are so far apart that no first code is given in two of them."""
    tokenizer = LetterTokenizer(levels=3, codes=16, dim=8, hidden=(64,))
    tokenizer.fit(Items(CONTENT, CF), training(epochs=10, learning_rate=1e-2))
    group_of_code = dict(zip(tokenizer.quantize(Items(CONTENT, CF))[:, 0], GROUP, strict=True))
    known = Items(CONTENT, CF)
    new = assign_new(tokenizer, known, CONTENT, tokenizer.assign(known))
    found = [group_of_code.get(code) for code in new[:, 0]]
    assert np.mean([f == g for f, g in zip(found, GROUP, strict=True)]) > 0.9
