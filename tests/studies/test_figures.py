"""The paper's figures, made anew on tiny planted data."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from command import letterrec
from letterrec.data import read
from letterrec.errors import SettingsError
from letterrec.identifiers.diagnostics import code_counts
from letterrec.runs.run import Run
from letterrec.studies.figures import draw
from rings import QUICK


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


def values(files: Sequence[Path]) -> dict[tuple[str, str], list[list[str]]]:
    """Panel and series -> x, y, z of each value."""
    (path,) = [file for file in files if file.suffix == ".csv"]
    found: dict[tuple[str, str], list[list[str]]] = {}
    with path.open(newline="") as file:
        for panel, series, *place in list(csv.reader(file))[1:]:
            found.setdefault((panel, series), []).append(place)
    return found


@pytest.mark.slow
def test_items_over_first_codes(data: Path, out: Path) -> None:
    files = draw("figure6", str(data), out, overrides=QUICK)
    assert [f.name for f in files] == [f"figure6-rqt.{e}" for e in ("svg", "html", "csv")]
    run = Run.open(out / "Beauty" / "rqt" / "both" / "seed-0")
    counts = code_counts(run.identifiers(read(data / "Beauty")))[0]
    (panel,) = [rows for (title, _), rows in values(files).items() if title.startswith("with d")]
    shares = [float(y) for _, y, _ in panel]
    expected = sorted(counts / counts.sum(), reverse=True)
    assert shares == pytest.approx(expected[: len(shares)])
    assert sum(shares) == pytest.approx(1)
    assert files[0].read_text().startswith("<svg")


@pytest.mark.slow
def test_code_embeddings_in_space(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for text in QUICK for part in ("--set", text)]
    assert letterrec("reproduce", "figure7", "--data", str(data), "--out", str(out), *settings) == 0
    files = [Path(line) for line in capsys.readouterr().out.split()]
    run = Run.open(out / "Beauty" / "rqt" / "collaborative" / "seed-0")
    codebook = run.tokenizer().codebooks[0]
    (panel,) = [rows for (title, _), rows in values(files).items() if title.startswith("without")]
    where = np.array(panel, dtype=np.float64)
    apart = np.linalg.norm(where[:, None] - where, axis=2)
    assert (apart <= np.linalg.norm(codebook[:, None] - codebook, axis=2) + 1e-4).all()
    assert where.var(0).argmax() == 0


@pytest.mark.slow
def test_codes_of_targets_and_of_what_is_generated(data: Path, out: Path) -> None:
    found = values(draw("figure3", str(data), out, overrides=QUICK))
    assert len(found) == 4  # two rows, targets and generated
    for (_, series), rows in found.items():
        shares = [float(y) for _, y, _ in rows]
        assert sum(shares) == pytest.approx(1)
        assert series != "targets in training" or shares == sorted(shares, reverse=True)


@pytest.mark.slow
def test_settings_one_at_a_time(data: Path, out: Path) -> None:
    over = ["tokenizer.clusters=3,10", "tokenizer.levels=3,1"]
    found = values(draw("figure8", str(data), out, overrides=QUICK, over=over))
    assert len(found) == 4  # two settings, two metrics
    for metric in ("Recall@10", "NDCG@10"):
        clusters = found["tokenizer.clusters", f"{metric}, validation"]
        levels = found["tokenizer.levels", f"{metric}, validation"]
        assert [x for x, *_ in clusters] == ["3", "10"]
        assert [x for x, *_ in levels] == ["3", "4"]  # one level of 8 codes is too few
        assert clusters[1][1] == levels[1][1]  # the base


def test_what_does_not_go_with_a_figure(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.cold_share"):
        draw("figure6", str(data), tmp_path, overrides=["data.cold_share=0.1"])
    arguments = ["reproduce", "figure6", "--data", str(data), "--write", "x.md"]
    assert letterrec(*arguments) == 2
