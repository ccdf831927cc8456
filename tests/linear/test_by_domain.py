"""Strengths of transitions that differ by domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from letterrec.errors import RunError
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.linear.by_domain import ByDomain
from letterrec.linear.transition_fitting import adopt_strengths, tune_domains
from letterrec.linear.transitions import Transitions

ONE = {"seen": 0.0, "like": 0.4, "decay": 0.9, "weight": 0.3}
TWO = {"seen": 1.0, "like": 0.1, "decay": 0.5, "weight": 0.8}
DOMAINS = ["one"] * 4 + ["two"] * 4
HISTORIES = torch.tensor([[0, 1, 2], [4, 5, -1], [0, 4, -1], [9, -1, -1], [-1, -1, -1], [5, 2, 9]])


def apart() -> ByDomain:
    return ByDomain({"one": ONE, "two": TWO}, np.array([0] * 4 + [1] * 4, dtype=np.int16))


def table() -> sp.csr_array[np.float32]:
    drawn = sp.random_array((8, 8), density=0.7, rng=np.random.default_rng(2), format="csr")
    return drawn.astype(np.float32)


def shares_of(items: torch.Tensor, shares: torch.Tensor) -> dict[int, float]:
    lines = zip(items.tolist(), shares.tolist(), strict=True)
    return {item: share for item, share in lines if share > 0}


def test_a_history_has_the_strengths_of_its_latest_item() -> None:
    """As if all histories of a domain were asked of transitions that have its strengths; an item
    that came later, and no history at all, have those of all.
    """
    plain = Transitions(table(), seen=0.5, decay=0.7, weight=0.6)
    found = replace(plain, by_domain=apart()).retrieve(HISTORIES)
    kinds = [ONE, TWO, TWO, plain.strength, plain.strength, plain.strength]
    for row, strength in enumerate(kinds):
        alone = {name: strength[name] for name in ("seen", "decay", "weight")}
        expected = replace(plain, **alone).retrieve(HISTORIES[row : row + 1])
        mine = shares_of(found.items[row], found.shares[row])
        assert mine == pytest.approx(shares_of(expected.items[0], expected.shares[0]), abs=1e-6)


def test_without_domains_nothing_changes() -> None:
    plain = Transitions(table(), seen=0.5, decay=0.7, weight=0.6)
    same = ByDomain({"one": plain.strength}, np.zeros(8, dtype=np.int16))
    expected, found = (t.retrieve(HISTORIES) for t in (plain, replace(plain, by_domain=same)))
    assert torch.equal(found.items, expected.items)
    assert torch.equal(found.shares, expected.shares)


def test_likeness_is_that_of_the_row() -> None:
    similar = sp.csr_array(np.roll(np.eye(8, dtype=np.float32), 1, axis=1))
    plain = Transitions(table()).with_like(similar, 0.2)
    found = plain.with_domains(apart(), similar).table.toarray() - plain.table.toarray()
    expected = similar.toarray() * np.repeat([0.2, -0.1], 4)[:, None]
    assert found == pytest.approx(expected, abs=1e-6)


def test_each_domain_gets_the_strengths_that_score_best_on_its_cases() -> None:
    """Scores with a known maximum: of a domain with few cases those of all are taken."""
    wanted = {"one": (0.0, 0.85, 0.2), "two": (1.0, 0.5, 0.8)}

    def score_of(domain: str) -> Callable[[Transitions], float] | None:
        if domain == "small":
            return None
        seen, decay, weight = wanted[domain]
        return lambda t: -abs(t.seen - seen) - abs(t.decay - decay) - abs(t.weight - weight)

    learned = Transitions(table())
    chosen = replace(learned, seen=0.0, decay=0.7, weight=0.4)
    domains = ["one"] * 3 + ["two"] * 3 + ["small"] * 2
    found = tune_domains(learned, chosen, domains, score_of).by_domain
    assert found is not None
    strengths = [(s["seen"], s["decay"], s["weight"]) for s in found.strengths.values()]
    assert strengths == [*wanted.values(), (0.0, 0.7, 0.4)]
    assert found.of_items.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_a_refit_takes_them_over_by_name() -> None:
    chosen = replace(Transitions(table(), weight=0.7), by_domain=apart())
    domains = ["new", "two", "two", "one", "new", "two", "one", "one"]
    found = adopt_strengths(Transitions(table()), chosen, None, domains).by_domain
    assert found is not None
    weights = found.values("weight", np.arange(8), chosen.weight)
    assert weights.tolist() == [0.7, 0.8, 0.8, 0.3, 0.7, 0.8, 0.3, 0.3]
    assert adopt_strengths(Transitions(table()), chosen).by_domain is None


def test_added_items_and_new_rows() -> None:
    known = replace(Transitions(table()), by_domain=apart())
    content = np.eye(8, dtype=np.float32)
    grown = known.grown(content, content[:2])
    moved = grown.at_rows(np.arange(10)[::-1].copy(), 12)
    assert moved.by_domain is not None
    of_items = moved.by_domain.of_items.tolist()
    assert of_items == [-1, -1, 1, 1, 1, 1, 0, 0, 0, 0, -1, -1]


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    kept = replace(Transitions(table()), by_domain=apart())
    kept.save(path, {})
    again = Transitions.load(path).by_domain
    assert again is not None
    assert again.strengths == {"one": ONE, "two": TWO}
    assert again.of_items.tolist() == apart().of_items.tolist()
    tensors, about = read_tensors(path)
    for wrong in (tensors["domains"][:3], tensors["domains"] + 5):
        write_tensors(path, tensors | {"domains": wrong}, about)
        with pytest.raises(RunError, match="is damaged"):
            Transitions.load(path)
