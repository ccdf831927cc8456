"""Several sources as one data set: whose ids, whose histories, in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import letterrec
from letterrec.config.settings import DataSettings
from letterrec.data import Dataset, Sources, sources_of
from letterrec.data.cold import hold_out
from letterrec.data.domains import combined, items_in, names_of
from letterrec.data.reading import read_split
from letterrec.data.saved import read_dataset, write_dataset
from letterrec.data.splits import Cut
from letterrec.errors import DataError, LetterRecError, NotFound, SettingsError

Sequences = Callable[[Dataset], dict[str, list[str]]]
DAY = 86_400


def write_source(folder: Path, *events: tuple[str, str, int], titles: bool = True) -> Path:
    """A folder of tables with events (user, item, day)."""
    folder.mkdir(parents=True)
    rows = [(u, i, 1_600_000_000 + DAY * day) for u, i, day in events]
    pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row").write_csv(
        folder / "interactions.csv"
    )
    if titles:
        items = sorted({i for _, i, _ in events})
        frame = pl.DataFrame({"item": items, "title": [f"{folder.name} no. {i}" for i in items]})
        frame.write_csv(folder / "items.csv")
    return folder


@pytest.fixture
def books(tmp_path: Path) -> Path:
    events = (("ann", "1", 0), ("bob", "1", 1), ("ann", "2", 4), ("bob", "2", 5))
    return write_source(tmp_path / "books", *events)


@pytest.fixture
def games(tmp_path: Path) -> Path:
    events = (("cem", "2", 0), ("ann", "1", 2), ("ann", "3", 9), ("cem", "1", 3))
    return write_source(tmp_path / "games", *events, titles=False)


def test_items_and_users_are_of_their_source(
    books: Path, games: Path, sequences_of: Sequences
) -> None:
    both = letterrec.read([books, games], k_core=0)
    assert both.name == "books + games"
    assert both.item_ids == ("books/1", "books/2", "games/1", "games/2", "games/3")
    assert both.domains == ("books", "books", "games", "games", "games")
    assert sequences_of(both) == {
        "books/ann": ["books/1", "books/2"],
        "books/bob": ["books/1", "books/2"],
        "games/ann": ["games/1", "games/3"],
        "games/cem": ["games/2", "games/1"],
    }
    assert both.texts is not None
    assert both.texts[both.item_rows["books/2"]] == "books no. 2"
    assert both.texts[both.item_rows["games/3"]] == "3"  # an id stands in where there is no text
    assert any("games: its items have no text" in note for note in both.warnings)


def test_joined_users_have_one_history_in_time_order(
    books: Path, games: Path, sequences_of: Sequences
) -> None:
    both = letterrec.read([books, games], k_core=0, join_users=True)
    assert sequences_of(both) == {
        "ann": ["books/1", "games/1", "books/2", "games/3"],
        "bob": ["books/1", "books/2"],
        "cem": ["games/2", "games/1"],
    }
    assert both.times is not None
    days = (both.times - 1_600_000_000) / DAY
    assert days.tolist() == [0, 2, 4, 9, 1, 5, 0, 3]
    assert "1 ids are in a further source; what they did is in time order" in both.warnings[-2]


def test_without_times_a_joined_history_is_interleaved_evenly(
    books: Path, games: Path, sequences_of: Sequences
) -> None:
    untimed = {
        n: replace(letterrec.read(f, k_core=0), times=None)
        for n, f in (("books", books), ("games", games))
    }
    both = combined(untimed, join_users=True)
    assert sequences_of(both)["ann"] == ["books/1", "games/1", "books/2", "games/3"]
    assert both.times is None
    assert any("interleaved evenly" in note for note in both.warnings)


def test_one_source_stays_as_it_is(books: Path) -> None:
    alone, listed = letterrec.read(books, k_core=0), letterrec.read([books], k_core=0)
    assert alone.fingerprint == listed.fingerprint
    assert alone.item_ids == listed.item_ids == ("1", "2")
    assert alone.domains is None
    assert names_of(alone) == ("books",)
    assert items_in(alone, "books").all()


def test_a_path_may_bring_its_name(books: Path, games: Path) -> None:
    both = letterrec.read([f"Paper={books}", games], k_core=0)
    assert names_of(both) == ("Paper", "games")
    assert names_of(letterrec.read({"a": books, "b": games}, k_core=0)) == ("a", "b")
    one = letterrec.read(f"Paper={books}", k_core=0)
    assert one.item_ids == ("Paper/1", "Paper/2")
    odd = books.rename(books.with_name("a=b"))  # a path that is there is no name
    assert letterrec.read(odd.as_posix(), k_core=0).domains is None


def test_further_columns_of_every_source_stay(tmp_path: Path) -> None:
    days = range(4)
    for name, columns in (
        ("books", {"genre": ["crime", "poems"], "year": [1999, 2001]}),
        ("games", {"genre": ["crime", "chess"], "players": [2, 4]}),
        ("music", {}),
    ):
        events = [("ann", str(1 + day % 2), day) for day in days]
        folder = write_source(tmp_path / name, *events)
        pl.DataFrame({"item": ["1", "2"], "title": ["a", "b"]} | columns).write_csv(
            folder / "items.csv"
        )
    names = ("books", "games", "music")
    three = letterrec.read([tmp_path / name for name in names], k_core=0)
    assert three.attributes is not None
    none: list[str] = []
    assert three.attributes.to_dict(as_series=False) == {
        "genre": [["crime"], ["poems"], ["crime"], ["chess"], none, none],
        "year": [["1999"], ["2001"], none, none, none, none],
        "players": [none, none, ["2"], ["4"], none, none],
    }
    write_dataset(three, tmp_path / "kept")
    kept = read_dataset(tmp_path / "kept").attributes
    assert kept is not None
    assert kept.equals(three.attributes)
    music = combined({n: letterrec.read(tmp_path / "music", k_core=0) for n in ("a", "b")})
    assert music.attributes is None


def test_names_of_files_and_of_what_is_read(books: Path) -> None:
    table = books / "interactions.csv"
    given = sources_of([table, letterrec.read(books, k_core=0)])
    assert isinstance(given, Sources)
    assert list(given.named) == ["interactions", "books"]
    assert str(given) == f"interactions={table}, books=books"


@pytest.mark.parametrize(
    ("sources", "answer"),
    [
        (lambda b: [b, b], "two sources are called 'books'; give each a name of its own"),
        (lambda b: [], "no source is given"),
        (lambda b: {}, "no source is given"),
        (lambda b: [b, b.with_name("nothere")], "nothere does not exist"),
        (lambda b: [b, 3], "source is a int"),
        (lambda b: [f"x/y={b}", b], "'x/y'; expected 1 to 100 printable characters"),
        (lambda b: [f"={b}", b], "a source is called ''"),
        (lambda b: [f"a={b}", f"a={b}"], "two sources are called 'a'"),
    ],
)
def test_sources_that_cannot_be_one_data_set(
    books: Path, sources: Callable[[Path], object], answer: str
) -> None:
    with pytest.raises(DataError, match=answer) as caught:
        letterrec.read(sources(books), k_core=0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_is_split_or_joined_already_is_refused(books: Path, games: Path) -> None:
    one, other = letterrec.read(books, k_core=0), letterrec.read(games, k_core=0)
    split = replace(one, cut=Cut.nothing(one.interactions.lengths))
    with pytest.raises(DataError, match="a split of its own"):
        combined({"a": split, "b": other})
    with pytest.raises(DataError, match="domains of its own"):
        combined({"a": combined({"x": one, "y": other}), "b": other})
    given = sources_of([one, other])
    with pytest.raises(SettingsError, match=r"data\.k_core = 3, but .* is taken as it is"):
        read_split(given, DataSettings(k_core=3), seed=0)
    joined, _ = read_split(given, DataSettings(join_users=True), seed=0)
    assert "ann" in joined.user_rows


def test_a_domain_that_there_is_not_is_refused(books: Path, games: Path) -> None:
    both = letterrec.read([books, games], k_core=0)
    assert items_in(both, "games").tolist() == [False, False, True, True, True]
    with pytest.raises(NotFound, match="domain 'toys' is not among those of the run; expected one"):
        items_in(both, "toys")
    with pytest.raises(LetterRecError, match="expected one of 'books', 'games'"):
        items_in(both, "Books")


def test_domains_are_kept(books: Path, games: Path, tmp_path: Path) -> None:
    both = letterrec.read([books, games], k_core=0)
    folder = tmp_path / "kept"
    folder.mkdir()
    write_dataset(both, folder)
    again = read_dataset(folder)
    assert again.domains == both.domains
    assert again.fingerprint == both.fingerprint
    rest, held = hold_out(both, 0.4, seed=1)
    assert rest.domains is not None
    assert [i.partition("/")[0] for i in rest.item_ids] == list(rest.domains)
    assert len(held.item_ids) == 2


def test_behaviours_of_one_name_are_one(books: Path, games: Path) -> None:
    def with_behaviours(source: Path, names: tuple[str, str], of_each: list[int]) -> Dataset:
        read = letterrec.read(source, k_core=0)
        kinds = np.array(of_each, dtype=np.int8)
        return replace(
            read, behaviours=names, interactions=replace(read.interactions, behaviours=kinds)
        )

    one = with_behaviours(books, ("view", "buy"), [0, 1, 0, 0])
    other = with_behaviours(games, ("buy", "rent"), [0, 1, 0, 0])
    both = combined({"books": one, "games": other}, join_users=True)
    assert both.behaviours == ("view", "buy", "rent")
    assert both.interactions.behaviours is not None
    of_user = dict(zip(both.user_ids, range(3), strict=True))
    start, stop = both.interactions.offsets[of_user["ann"] :][:2]
    items = [both.item_ids[i] for i in both.interactions.items[start:stop]]
    kinds = [both.behaviours[b] for b in both.interactions.behaviours[start:stop]]
    before = dict(zip(one.user_ids, one.interactions, strict=True))
    assert items == ["books/1", "games/1", "books/2", "games/3"]
    assert len(before["ann"]) == 2
    expected = {"books/1": "view", "books/2": "buy"}
    assert {i: k for i, k in zip(items, kinds, strict=True) if i in expected} == expected
    with pytest.raises(
        DataError, match="games has no behaviours, and other sources have view, buy"
    ):
        combined({"books": one, "games": letterrec.read(games, k_core=0)})


def test_more_behaviours_than_a_row_can_number_are_refused(books: Path, games: Path) -> None:
    def with_kinds(source: Path, name: str) -> Dataset:
        read = letterrec.read(source, k_core=0)
        kinds = np.zeros(read.n_interactions, dtype=np.int8)
        names = tuple(f"{name}{i}" for i in range(64))
        return replace(
            read, behaviours=names, interactions=replace(read.interactions, behaviours=kinds)
        )

    parts = {"books": with_kinds(books, "b"), "games": with_kinds(games, "g")}
    with pytest.raises(DataError, match="books and games have 128 different behaviours together"):
        combined(parts)


def test_preferences_and_categories_of_some_sources(books: Path, games: Path) -> None:
    one, other = letterrec.read(books, k_core=0), letterrec.read(games, k_core=0)
    one = replace(one, preferences=("likes crime", "likes maps"), categories=(("a",), ("a", "b")))
    both = combined({"books": one, "games": other}, join_users=True)
    assert both.preferences == ("likes crime", "likes maps", "")
    assert both.categories == (("a",), ("a", "b"), (), (), ())


def test_many_users_keep_their_sequences() -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(0, 9, 200)

    def part(name: str, n_items: int) -> Dataset:
        offsets = np.append(0, np.cumsum(lengths))
        items = random.integers(0, n_items, offsets[-1]).astype(np.int32)
        sequences = letterrec.data.Histories(offsets, items)
        ids = tuple(map(str, range(n_items)))
        return Dataset(name, tuple(map(str, range(200))), ids, sequences, ids)

    one, other = part("one", 30), part("other", 50)
    both = combined({"one": one, "other": other})
    assert np.array_equal(both.interactions.items[: lengths.sum()], one.interactions.items)
    assert np.array_equal(both.interactions.items[lengths.sum() :] - 30, other.interactions.items)
    joined = combined({"one": one, "other": other}, join_users=True)
    for user in range(200):
        mixed = joined.interactions[user]
        assert mixed[mixed < 30].tolist() == one.interactions[user].tolist()
        assert (mixed[mixed >= 30] - 30).tolist() == other.interactions[user].tolist()
