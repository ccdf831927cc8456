"""The paper's tables on a tiny data set: which rows, which figures, what is shared and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from command import letterrec
from letterrec.config.loading import load_settings
from letterrec.data import find_sources, read
from letterrec.errors import DataError, SettingsError
from letterrec.evaluation.metrics import summarise
from letterrec.identifiers.diagnostics import cf_overlap, cf_overlap_any, random_overlap_any
from letterrec.identifiers.identifiers import parse_tokens
from letterrec.nn.sasrec import SASRec
from letterrec.runs.run import Run
from letterrec.studies import RecommenderName, paper, rendering
from letterrec.studies.reproduce import check_overrides, reproduce
from letterrec.studies.rows import ROWS, TABLES, rows_for, settings_of
from letterrec.tokenizers import Items
from ranking import metrics_of
from rings import QUICK


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


@pytest.fixture(scope="module")
def ablation(data: Path, out: Path) -> dict[str, Any]:
    (result,) = reproduce("table2", str(data), out, seeds=2, overrides=QUICK)
    return result


@pytest.fixture(scope="module")
def overall(data: Path, out: Path, ablation: dict[str, Any]) -> dict[str, Any]:
    (result,) = reproduce("table1", str(data / "Beauty"), out, seeds=1, overrides=QUICK)
    return result


def run_of(out: Path, row: str, seed: int = 0) -> Run:
    return Run.open(out / "Beauty" / "rqt" / row / f"seed-{seed}")


def run_of_baseline(out: Path, row: str) -> Run:
    return Run.open(out / "Beauty" / row / row / "seed-0")


def test_figures_are_those_of_the_runs(out: Path, ablation: dict[str, Any]) -> None:
    rows = {row["row"]: row for row in ablation["rows"]}
    assert list(rows) == list(TABLES["table2"].rows)
    by_seed = [run_of(out, "both", seed).metrics() for seed in (0, 1)]
    recalls = [metrics["test"]["metrics"]["recall@10"] for metrics in by_seed]
    assert rows["both"]["mean"]["recall@10"] == pytest.approx(np.mean(recalls))
    assert rows["both"]["spread"]["recall@10"] == pytest.approx(np.std(recalls, ddof=1))
    assert rows["both"]["paper"] == {"recall@10": 0.0672, "ndcg@10": 0.0357}
    assert rows["plain"]["paper"] == {"recall@10": 0.0610, "ndcg@10": 0.0331}


def test_differences_are_those_of_the_means(ablation: dict[str, Any]) -> None:
    rows = {row["row"]: row for row in ablation["rows"]}
    found = {(d["row"], d["against"]) for d in ablation["differences"]}
    assert found == set(TABLES["table2"].differences)
    for d in ablation["differences"]:
        ours, theirs = (rows[d[side]]["mean"][d["metric"]] for side in ("row", "against"))
        assert d["mean"] == pytest.approx(ours - theirs)
        assert d["low"] <= d["mean"] <= d["high"]
        assert d["users"] == 40


def test_what_rows_share_is_learned_once(out: Path, ablation: dict[str, Any]) -> None:
    def learned(stage: str) -> list[Run]:
        runs = [run_of(out, row, seed) for row in TABLES["table2"].rows for seed in (0, 1)]
        return [run for run in runs if "from" not in run.about["stages"][stage]]

    assert len(learned("collaborative")) == 2  # once per seed
    assert len(learned("tokenizer")) == 8  # "letter" has the codes of "both"
    assert len(learned("recommender")) == 10


def test_a_finished_table_is_only_read(
    data: Path, out: Path, ablation: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for text in QUICK for part in ("--set", text)]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("run.json")}
    arguments = ["table2", "--data", str(data), "--out", str(out), "--seeds", "2", *settings]
    assert letterrec("reproduce", *arguments, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [ablation]
    assert "[6/8]" not in captured.err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("run.json")} == before


def test_overall_has_the_baselines(data: Path, out: Path, overall: dict[str, Any]) -> None:
    rows = {row["row"]: row for row in overall["rows"]}
    dataset = read(data / "Beauty")
    assert list(rows) == rows_for(TABLES["table1"], dataset)
    missing = {row["row"]: row["reason"] for row in overall["unavailable"]}
    assert rows.keys() | missing.keys() == TABLES["table1"].rows.keys()
    of_text = ("lcrec", "bigrec", "p5-tid")
    assert {missing[row] for row in of_text} == {"the items have no text"}
    assert missing["p5-semid"] == "the items have no categories"
    sheet = rendering.figures_sheet(overall)
    labels = [line[0] for line in sheet.rows]
    assert labels.index("LC-Rec with SmolLM2-135M, plain RQ-VAE identifiers") > labels.index("EASE")
    assert "not made: LC-Rec" in sheet.note
    mf = run_of_baseline(out, "mf")
    assert mf.metrics()["test"]["metrics"] == rows["mf"]["mean"]
    assert list(mf.about["stages"]) == ["read", "recommender", "evaluation"]  # nothing taken over
    published = run_of(out, "published").identifiers(dataset)
    assert dataset.given_tokens is not None
    assert (published.codes == parse_tokens(dataset.given_tokens).codes).all()
    sasrec = run_of_baseline(out, "sasrec")
    assert sasrec.settings.recommender.name == "sasrec"
    assert summarise(sasrec.ranks("test")) == rows["sasrec"]["mean"]
    assert rows["popularity"]["seconds"] == 0
    assert rows["ours"]["spread"] is None
    assert json.loads((out / "Beauty" / "table1-rqt.json").read_text()) == overall


def test_quantized_embeddings_in_sasrec(data: Path, out: Path, overall: dict[str, Any]) -> None:
    (result,) = reproduce("table3", str(data), out, seeds=1, overrides=QUICK)
    rows = {row["row"]: row for row in result["rows"]}
    host = run_of(out, "host")
    assert "from" in host.about["stages"]["collaborative"]  # the SASRec that eq. 3 was beside
    assert rows["host"]["mean"] == host.metrics()["test"]["metrics"]
    plain, dataset = run_of(out, "plain"), read(data / "Beauty")
    cf = plain.embeddings(
        "collaborative", dataset.n_items
    )  # stands in for the texts that rings lack
    assert cf is not None
    quantized = plain.tokenizer().quantized(Items(cf, cf))
    model = SASRec.load(host.folder / "sasrec.safetensors", dataset.item_ids)
    scale = np.linalg.norm(model.item_embeddings()) / np.linalg.norm(quantized)
    model.use_item_embeddings(np.asarray(quantized * scale, dtype=np.float32))
    found = metrics_of(model, dataset.held_out("test"))
    plain_row = rows["plain"]["mean"]
    for metric, value in found.items():
        assert plain_row[metric] == pytest.approx(value, abs=0.05)  # two of 40 users
    low, mean, high = (plain_row[f"{x} rotated"] for x in ("lowest", "recall@10", "highest"))
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    assert plain_row["R2 of h"] <= 1  # fitted on 24 items, it says nothing of the others
    assert rows["letter"]["paper"]["recall@10"] == 0.0343


def test_overlap_is_on_one_set_of_cf_embeddings(
    data: Path, out: Path, overall: dict[str, Any]
) -> None:
    (result,) = reproduce("table4", str(data), out, seeds=1, overrides=QUICK)
    rows = {row["row"]: row["mean"] for row in result["rows"]}
    dataset = read(data / "Beauty")
    assert dataset.given_cf is not None
    own = run_of(out, "plain").embeddings("collaborative", 30)
    assert own is not None
    for row, figures in rows.items():
        identifiers = run_of(out, row).identifiers(dataset)
        codes, sizes = identifiers.codes, identifiers.sizes
        assert figures["cf_overlap"] == cf_overlap(codes, own)
        assert figures["cf_overlap_any"] == cf_overlap_any(codes, own)
        assert figures["cf_overlap (given CF)"] == cf_overlap(codes, dataset.given_cf)
        assert figures["cf_overlap_any (given CF)"] == cf_overlap_any(codes, dataset.given_cf)
        assert figures["random_overlap_any"] == random_overlap_any(codes)
        assert figures["level-1 codes in use"] == len(np.unique(codes[:, 0])) / sizes[0]
    assert result["differences"] == []
    assert "min per run" not in rendering.figures_sheet(result).columns


def test_tables_for_people(ablation: dict[str, Any]) -> None:
    sheet = rendering.figures_sheet(ablation)
    assert ["  paper: (4): LETTER-TIGER", "0.0672", "0.0364", ""] in sheet.rows
    assert "±" in sheet.rows[0][1]
    assert "no text" in sheet.note
    section = rendering.section(ablation, "letterrec reproduce table2")
    assert section.startswith("## Ablation")
    assert "`letterrec reproduce table2`" in section
    assert f"| {ROWS['letter'].label} - plain RQ-VAE identifiers | NDCG@10 |" in section


def test_a_table_goes_into_a_file(
    data: Path, out: Path, overall: dict[str, Any], tmp_path: Path
) -> None:
    settings = [part for text in QUICK for part in ("--set", text)]
    file = tmp_path / "RESULTS.md"
    arguments = ["--data", str(data), "--out", str(out), "--seeds", "1", *settings]
    for _ in range(2):
        assert letterrec("reproduce", "table1", *arguments, "--write", str(file)) == 0
    assert file.read_text().count("begin: reproduce table1 rqt Beauty") == 1


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("recommender", get_args(RecommenderName))
def test_every_row_has_settings(name: Any, recommender: Any) -> None:
    overrides = ["tokenizer.training.epochs=7", "training.epochs=3", "collaborative.source=given"]
    for row_name in TABLES[name].rows:
        row = ROWS[row_name]
        settings = settings_of(row, recommender, 5, overrides)
        assert settings.seed == 5
        assert settings.training.epochs == 3
        wanted = load_settings(row.recommender or recommender).recommender
        changed = {"temperature": 1.0}
        if recommender == "rqt" and row.recommender is None:
            changed |= wanted.model_dump(include={"item_weight", "dropout"})
        assert settings.recommender.model_copy(update=changed) == wanted
        own = settings_of(row, recommender, 5, [])
        assert settings_of(row, recommender, 5, ["data.max_history=7"]) != own
    assert set(TABLES[name].rows.values()) - {""} <= set(TABLES[name].paper)


@pytest.mark.parametrize("recommender", get_args(RecommenderName))
def test_the_row_that_says_as_in_the_paper_is_the_papers_recipe(recommender: Any) -> None:
    """Only encoder and epochs differ, as the label says."""
    row = settings_of(ROWS["letter"], recommender, 0, [])
    paper = load_settings("paper-letter-tiger")
    epochs = ["tokenizer.training.epochs=20000", "tokenizer.training.patience=20000"]
    assert settings_of(ROWS["letter"], recommender, 0, epochs).tokenizer == paper.tokenizer
    assert row.recommender.temperature == paper.recommender.temperature
    assert not row.transitions.enabled
    assert load_settings("paper-letter-rqt").tokenizer == row.tokenizer
    assert load_settings("paper-letter-lcrec").tokenizer == paper.tokenizer
    changed = {"plain": {"alpha": 0, "beta": 0}, "collaborative": {"beta": 0}}
    changed |= {"diversity": {"alpha": 0}, "both": {}}
    for name, terms in changed.items():
        ablated = settings_of(ROWS[name], recommender, 0, [])
        assert ablated.tokenizer == row.tokenizer.model_copy(update=terms)
        assert ablated.recommender.temperature == 1.0


def test_no_row_of_the_papers_table_1_is_missing() -> None:
    assert set(paper.TABLE_1) == set(TABLES["table1"].rows.values()) - {""}


def test_a_row_wins_over_an_override() -> None:
    settings = settings_of(ROWS["plain"], "rqt", 0, ["tokenizer.alpha=0.5"])
    assert settings.tokenizer.alpha == 0  # type: ignore[union-attr]


def test_identifiers_are_compared_by_what_rqt_spells() -> None:
    """The softmax over items, which knows no identifiers, takes no part."""
    rows = {name: settings_of(ROWS[name], "rqt", 0, []).recommender for name in ROWS}
    for name in ("plain", "letter", "published"):
        assert (rows[name].item_weight, rows[name].dropout) == (0, 0.15)
    assert rows["alone"] == rows["ours"] == load_settings("rqt").recommender
    assert (
        settings_of(ROWS["plain"], "tiger", 0, []).recommender == load_settings("tiger").recommender
    )


def test_published_identifiers_need_some(data: Path, shop: Path) -> None:
    assert "published" in rows_for(TABLES["table1"], read(data / "Beauty"))
    assert "published" not in rows_for(TABLES["table1"], read(shop))


def test_data_sets_are_found(data: Path, tmp_path: Path) -> None:
    assert find_sources(data) == {"Beauty": str(data / "Beauty")}
    assert find_sources(data / "Beauty") == {"Beauty": str(data / "Beauty")}
    assert find_sources("ml-100k") == {"ml-100k": "ml-100k"}
    with pytest.raises(DataError, match="no known format"):
        find_sources(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find_sources(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("table", "override", "message"),
    [
        ("table1", "data.cold_share=0.1", "cold_share"),
        ("table1", "identifiers.source=given", "identifiers.source"),
        ("table1", "tokenizer.alpa=1", "'tokenizer.alpa' does not exist"),
        ("table3", "collaborative.source=given", "collaborative.source"),
    ],
)
def test_settings_that_spoil_a_table(table: Any, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_overrides(table, "rqt", [override])


def test_other_settings_need_another_folder(
    data: Path, out: Path, ablation: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code = letterrec("reproduce", "table2", "--data", str(data), "--out", str(out))
    assert code == 2
    assert "other settings" in capsys.readouterr().err
