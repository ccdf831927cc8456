"""Cuts, further metrics, standard errors, samples and groups, in numbers that are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import letterrec
from command import letterrec as command
from letterrec.baselines.popularity import Popularity
from letterrec.data import Dataset, Histories
from letterrec.data.splits import Cut
from letterrec.decoding.ranker import ScoringRanker
from letterrec.errors import RequestError, SettingsError
from letterrec.evaluation import cases as held_out
from letterrec.evaluation.breakdowns import grouped
from letterrec.evaluation.cases import measured_cases
from letterrec.evaluation.metrics import Measures, standard_errors, summarise
from letterrec.evaluation.protocol import evaluate_split
from letterrec.progress import shown
from rings import write_rings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rings")
    rings, out = write_rings(folder) / "Beauty", folder / "run"
    settings = {"evaluation.cuts": [20], "evaluation.metrics": ["mrr"]}
    letterrec.fit(rings, out, settings, recipe="popularity", progress=False)
    return out


def test_every_metric_at_every_cut_by_hand() -> None:
    measures = Measures.with_more([1, 20], ["mrr", "hit_rate"])
    found = summarise(np.array([0, 3, 12, -1]), measures)
    assert found["recall@1"] == found["hit_rate@1"] == 0.25
    assert found["recall@20"] == found["hit_rate@20"] == 0.75
    assert found["mrr@5"] == pytest.approx((1 + 1 / 4) / 4)
    assert found["mrr@20"] == pytest.approx((1 + 1 / 4 + 1 / 13) / 4)
    assert len(found) == 4 * 4


def test_standard_errors_are_what_samples_vary_by() -> None:
    random = np.random.default_rng(0)
    samples = [np.where(random.random(400) < 0.2, 0, -1) for _ in range(400)]
    spread = np.std([summarise(s)["recall@10"] for s in samples])
    assert np.mean([standard_errors(s)["recall@10"] for s in samples]) == pytest.approx(
        float(spread), rel=0.2
    )
    assert set(standard_errors(np.array([3])).values()) == {0.0}


def test_what_a_run_says_has_the_settings_cuts(run: Path) -> None:
    found = letterrec.evaluate(run, progress=False)
    assert {"recall@5", "ndcg@10", "recall@20", "mrr@20"} <= found["metrics"].keys()
    assert found["metrics"].keys() <= found["standard_errors"].keys()
    assert found["lists"]["coverage@10"] == pytest.approx(10 / 30)  # everyone gets the same ten
    assert found["lists"]["gini@10"] == pytest.approx(20 / 30)
    assert "of_users" not in found
    assert "groups" not in found
    more = letterrec.evaluate(run, cuts=[2], metrics=["hit_rate"], progress=False)["metrics"]
    assert more["hit_rate@2"] == more["recall@2"]
    assert more["recall@20"] == found["metrics"]["recall@20"]
    with pytest.raises(SettingsError, match="cuts"):
        letterrec.evaluate(run, cuts=[0], progress=False)
    with pytest.raises(RequestError, match="by = 'age': expected one of 'history'"):
        letterrec.evaluate(run, by="age", progress=False)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="'auc': expected 'recall', 'ndcg', 'mrr'"):
        letterrec.evaluate(run, metrics=["auc"], progress=False)


def test_a_sample_is_the_same_one_again_and_near_the_whole(run: Path) -> None:
    whole = letterrec.evaluate(run, progress=False)
    some = letterrec.evaluate(run, users=25, progress=False)
    assert (some["users"], some["of_users"]) == (25, 40)
    assert some["metrics"] == letterrec.evaluate(run, users=25, progress=False)["metrics"]
    off = abs(some["metrics"]["recall@10"] - whole["metrics"]["recall@10"])
    assert off < 4 * some["standard_errors"]["recall@10"]


@pytest.mark.parametrize("by", ["history", "popularity", "user"])
def test_groups_add_up_to_all(run: Path, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, "--by", by, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    groups = found["groups"]
    assert sum(g["cases"] for g in groups) == found["users"] == 40
    hits = sum(g["cases"] * g["metrics"]["recall@10"] for g in groups)
    assert hits / 40 == pytest.approx(found["metrics"]["recall@10"])
    assert command("evaluate", run, "--by", by, "--cuts", "20") == 0
    assert groups[-1]["name"] in capsys.readouterr().out


def test_who_came_after_training_is_a_group_of_its_own() -> None:
    dataset = Dataset(
        name="three",
        user_ids=("old", "new", "newest"),
        item_ids=("a", "b", "c"),
        interactions=Histories.from_lists([[0, 1, 0, 1], [0, 1], [2]]),
        titles=("a", "b", "c"),
    )
    cut = Cut(valid=np.array([2, 0, 0]), test=np.array([3, 1, 0]))
    dataset = replace(dataset, cut=cut)
    cases = measured_cases(dataset, "test")
    groups = grouped("user", np.array([0, -1]), cases, dataset)
    assert [(g["name"], g["cases"]) for g in groups if g["cases"]] == [
        ("none in training", 1),
        ("1-3", 1),
    ]
    assert groups[0]["metrics"]["recall@5"] == 0.0
    ranker = ScoringRanker(Popularity.of(dataset.popularity), torch.device("cpu"))
    assert evaluate_split(ranker, dataset, "test").metrics["without_history"] == 1


def test_many_users_are_measured_by_a_sample(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tuple(map(str, range(300)))
    walks = Histories.from_lists([[u % 5, (u + 1) % 5, (u + 2) % 5] for u in range(300)])
    dataset = Dataset("walks", ids, ids[:5], walks, ids[:5])
    ranker = ScoringRanker(Popularity.of(dataset.popularity), torch.device("cpu"))
    assert "of_users" not in evaluate_split(ranker, dataset, "test").metrics
    monkeypatch.setattr(held_out, "EVERYONE", 299)
    monkeypatch.setattr(held_out, "SAMPLE", 40)
    with shown(True):
        found = evaluate_split(ranker, dataset, "test").metrics
    assert (found["users"], found["of_users"]) == (40, 300)
    assert found["standard_errors"]["recall@5"] == 0
    assert "40 of the 300 users" in capsys.readouterr().err
    assert len(measured_cases(dataset, "test")) == 40
    assert evaluate_split(ranker, dataset, "test", users=300).metrics["users"] == 300
