"""New items from text to recommendation, blocking and deleting, and what must not go wrong."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import letterrec
from letterrec import api
from letterrec.data.text import ItemText, item_text
from letterrec.errors import Conflict, NotFound, Overloaded, RequestError, RunError
from letterrec.identifiers.identifiers import Identifiers
from letterrec.linear.transitions import Transitions
from letterrec.serving.catalogue.changes import Receipt
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.log import read_changes
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems, ChangeItem, PutItems, SetStates
from letterrec.serving.engine import Engine
from letterrec.tokenizers import Items
from letterrec.tokenizers.rqkmeans import RQKMeansTokenizer
from letterrec.training.options import TrainingOptions


def new_items(*numbers: int, kind: str = "red lipstick") -> AddItems:
    return AddItems({f"n{i}": item_text(f"{kind} no. {i}", [f"brand {i % 4}"]) for i in numbers})


def distinct(engine: Engine) -> bool:
    codes = engine.identifiers.codes
    return len(np.unique(codes, axis=0)) == len(codes)


@pytest.fixture
def engine(own_run: Path) -> Engine:
    return letterrec.load(own_run)


def test_new_items_get_identifiers_of_their_own_and_are_recommended(engine: Engine) -> None:
    before = engine.identifiers.codes.copy()
    Editor(engine).make(new_items(100, 101, 102))
    assert engine.catalogue.n_items == 63
    assert np.array_equal(engine.identifiers.codes[:60], before)
    assert distinct(engine)
    (answer,) = engine.recommend([["i05"]], k=63)
    assert {"n100", "n101", "n102"} <= {item for item, _ in answer}
    (answer,) = engine.recommend([["n100", "n101"]], k=5)
    assert len(answer) == 5


def add_twin(engine: Engine) -> None:
    """A new item, in row 60, with the text of the item in row 12."""
    Editor(engine).make(AddItems({"twin": ItemText("twin", engine.dataset.texts[12])}))  # type: ignore[index]


def test_a_new_item_lands_near_its_like(engine: Engine) -> None:
    """With a tokenizer that reads nothing but texts, equal ones differ in the last code alone."""
    assert engine.content is not None
    tokenizer = RQKMeansTokenizer(levels=4, codes=16).fit(Items(engine.content), TrainingOptions())
    tokenizer.save(engine.folder / "tokenizer")
    identifiers = Identifiers(tokenizer.assign(Items(engine.content)), (16,) * 4)
    engine.catalogue = Catalogue.trained(engine.dataset, identifiers)
    add_twin(engine)
    leading = {row: n for row, n, _ in engine.catalogue.directory.neighbours(60, 60)}
    assert leading[12] == 3


def test_a_new_item_follows_what_its_like_follows(engine: Engine) -> None:
    """Item 12 has followed item 11, and nothing else has followed anything."""
    counts = sp.csr_array((np.ones(1, np.float32), ([11], [12])), shape=(60, 60))
    planted = Transitions(counts, weight=0.5)
    engine.catalogue = replace(engine.catalogue, transitions=planted)
    add_twin(engine)
    assert engine.catalogue.transitions is not None
    items, shares = engine.catalogue.transitions.retrieve(torch.arange(60)[:, None])
    after = (shares * (items == 60)).sum(1)  # each item alone
    assert after.nonzero().flatten().tolist() == [11]
    assert after[11] > 0.02  # the twin is at least a twentieth of what is like it


def test_edits_outlive_the_process(engine: Engine) -> None:
    Editor(engine).make(new_items(1, 2))
    Editor(engine).make(SetStates({"i03": "blocked", "n1": "deleted"}))
    again = letterrec.load(engine.folder)
    assert again.catalogue.generation == 2
    assert np.array_equal(again.identifiers.codes, engine.identifiers.codes)
    assert again.catalogue.titles[-2:] == ("red lipstick no. 1", "red lipstick no. 2")
    history = [["i02", "i05"]]
    assert again.recommend(history, k=62) == engine.recommend(history, k=62)


def test_evaluation_is_of_the_catalogue_that_was_trained_on(engine: Engine) -> None:
    before = api.evaluate(engine.folder)["metrics"]
    Editor(engine).make(new_items(1, 2, 3))
    Editor(engine).make(SetStates({"i03": "deleted"}))
    assert api.evaluate(engine.folder)["metrics"] == before


def test_blocked_and_deleted_items_are_never_recommended(engine: Engine) -> None:
    editor = Editor(engine)
    histories = [["i05"], [], ["i03", "i04"]]
    editor.make(SetStates({"i06": "blocked", "i07": "deleted"}))
    for answer in engine.recommend(histories, k=60, exclude_seen=False):
        assert not {"i06", "i07"} & {item for item, _ in answer}
        assert len(answer) == 58
    (answer,) = engine.recommend([["i05"]], k=10, allowed=["i06", "i07", "i08"])
    assert [item for item, _ in answer] == ["i08"]
    assert engine.catalogue.row("i06") == 6
    with pytest.raises(NotFound, match="item 'i07' is not in the catalogue"):
        engine.catalogue.row("i07")
    assert 7 not in engine.catalogue.directory.search("shoe", 50)
    assert len(engine.recommend([["i07"]], k=5)[0]) == 5  # histories may still hold it
    editor.make(SetStates({"i06": "active", "i07": "active"}))
    (answer,) = engine.recommend([["i05"]], k=60, exclude_seen=False)
    assert len(answer) == 60


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (AddItems({"i01": item_text("x")}), Conflict, "already in the catalogue"),
        (AddItems({"": item_text("x")}), RequestError, "expected 1 to 256 printable"),
        (AddItems({"n": item_text("")}), RequestError, "neither title nor text"),
        (SetStates({"nope": "blocked"}), NotFound, "item 'nope' is not in the catalogue"),
    ],
    ids=["known", "no id", "no text", "unknown"],
)
def test_refused_edits_change_nothing(
    engine: Engine, edit: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Editor(engine).make(edit)
    assert engine.catalogue.generation == 0
    assert not (engine.folder / "catalogue.parquet").exists()


def test_the_id_of_a_deleted_item_stays_taken(engine: Engine) -> None:
    editor = Editor(engine)
    editor.make(new_items(1))
    codes = engine.identifiers.codes[-1].tolist()
    editor.make(SetStates({"n1": "deleted"}))
    with pytest.raises(Conflict, match="was deleted, and its id stays taken; restore it"):
        editor.make(new_items(1))
    editor.make(AddItems({"other": ItemText("other", "red lipstick no. 1. brand 1")}))
    assert engine.identifiers.codes[-1].tolist() != codes
    editor.make(SetStates({"n1": "active"}))
    assert engine.identifiers.codes[engine.catalogue.row("n1")].tolist() == codes


def test_one_refused_edit_does_not_stop_the_others(engine: Engine) -> None:
    made = Editor(engine).apply(
        [new_items(1), new_items(2), new_items(1), SetStates({"n2": "blocked"})]
    )
    assert [type(e) for e in made] == [Receipt, Receipt, Conflict, Receipt]
    assert engine.catalogue.count("blocked") == 1
    assert engine.catalogue.n_items == 62


def test_items_that_became_new_meanwhile_are_asked_for_again(engine: Engine) -> None:
    """They were known when texts were encoded, and the file of edits was replaced since then."""
    block = SetStates({"i01": "blocked"})
    items = new_items(100).items
    for edit in (AddItems(items), PutItems(items)):
        made = Editor(engine).apply([edit, block], given=[{}, {}])
        assert isinstance(made[0], Overloaded)
        assert isinstance(made[1], Receipt)
    assert engine.catalogue.n_items == 60
    assert engine.catalogue.count("blocked") == 1


def test_a_run_with_given_identifiers_takes_no_items(engine: Engine) -> None:
    shutil.rmtree(engine.folder / "tokenizer")
    with pytest.raises(RequestError, match="cannot take new items"):
        Editor(engine).make(new_items(1))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_catalogue(engine: Engine) -> None:
    editor = Editor(engine)
    editor.make(new_items(1))
    before = (engine.folder / "catalogue.parquet").read_bytes()
    with (
        full_disk(),
        pytest.raises(RunError, match=r"could not be written .*; the catalogue is as"),
    ):
        editor.make(new_items(2))
    assert (engine.folder / "catalogue.parquet").read_bytes() == before
    assert engine.catalogue.n_items == 61
    assert not [p.name for p in engine.folder.iterdir() if p.name.endswith(".tmp")]
    editor.make(new_items(2))
    assert letterrec.load(engine.folder).catalogue.n_items == 62


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing", None], ids=["empty", "other", "cut"])
def test_a_damaged_file_of_edits_is_refused(engine: Engine, damage: bytes | None) -> None:
    Editor(engine).make(new_items(1))
    path = engine.folder / "catalogue.parquet"
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises(RunError, match=r"is damaged .*; put back a copy, or delete it"):
        letterrec.load(engine.folder)


def test_edits_of_other_identifiers_are_refused(engine: Engine) -> None:
    Editor(engine).make(new_items(1))
    with pytest.raises(RunError, match="holds edits of other identifiers"):
        read_changes(engine.folder, "another run", engine.identifiers.sizes, 64, ())


def test_two_processes_and_a_server_lose_nothing(
    serve: Callable[..., Any], own_run: Path, tmp_path: Path
) -> None:
    """1,000 concurrent operations over HTTP while the command line adds items too."""
    table = tmp_path / "items.csv"
    table.write_text("item,title\n" + "".join(f"c{i},green tea no. {i}\n" for i in range(20)))
    command = [sys.executable, "-m", "letterrec.cli", "add-items", str(own_run), str(table)]
    failed: list[str] = []

    with serve(own_run) as served, served.client() as client:

        def operate(i: int) -> None:
            if i % 2:
                body = {"items": [{"item": f"s{i}", "title": f"jazz record no. {i % 50}"}]}
                answer = client.post("/v1/items", json=body)
            else:
                history = [f"i{i % 60:02d}"]
                answer = client.post("/v1/recommend", json={"history": history, "k": 50})
            if answer.status_code not in (200, 201):
                failed.append(f"{i}: {answer.status_code} {answer.text}")

        other = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(operate, range(1000)))
        assert other.wait() == 0
        assert failed == []
        for _ in range(100):  # edits of other processes are looked for every second
            if client.get("/v1/run").json()["items"] == 580:
                break
            time.sleep(0.1)
        assert client.get("/v1/items/c7").json()["title"] == "green tea no. 7"

    engine = letterrec.load(own_run)
    assert set(engine.catalogue.item_ids[60:]) == {
        *(f"s{i}" for i in range(1, 1000, 2)),
        *(f"c{i}" for i in range(20)),
    }
    assert distinct(engine)


def test_edited_words_are_kept_and_go_with_the_file(engine: Engine) -> None:
    editor = Editor(engine)
    editor.make(new_items(1))
    row, codes = engine.catalogue.row("n1"), engine.identifiers.codes.copy()
    editor.make(ChangeItem("i12", title="Crimson balm"))
    editor.make(ChangeItem("n1", text="for every day"))
    editor.make(PutItems({"i13": ItemText("Long hose", "Long hose. brand 1")}))
    for one in (engine, letterrec.load(engine.folder)):
        catalogue = one.catalogue
        assert (one.titles["i12"], one.titles["i13"]) == ("Crimson balm", "Long hose")
        assert catalogue.edited[12].text == "Crimson balm. brand 0"
        assert catalogue.edited[row].text == "red lipstick no. 1. for every day"
        assert catalogue.row("n1") == row
        assert np.array_equal(one.identifiers.codes, codes)
        assert catalogue.directory.search("crimson", 5) == [12]
    editor.make(ChangeItem("i13", title="garden hose no. 13"))
    assert 13 not in engine.catalogue.edited  # as it came
    (engine.folder / "catalogue.parquet").unlink()
    assert engine.refresh()
    assert engine.titles["i12"] == "red lipstick no. 12"
