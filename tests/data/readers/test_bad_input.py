"""What a source can have wrong with it, and the one line that says so."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import torch

from letterrec.data import read
from letterrec.errors import DataError

Content = str | bytes | Callable[[Path], object]
Files = dict[str, Content]


def put(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            content(path)
    return folder


def parquet(**columns: object) -> Callable[[Path], object]:
    return lambda path: pl.DataFrame(columns).write_parquet(path)


def saved(value: object) -> Callable[[Path], object]:
    return lambda path: torch.save(value, path)


def letter(**files: Content) -> Files:
    """A folder in LETTER's layout with two items, and further files NAME.KEY.json."""
    inter: Content = '{"u": [0, 1, 0]}'
    return {"A.inter.json": inter} | {f"A.{key}.json": content for key, content in files.items()}


def csv(*rows: str, header: str = "user,item,timestamp") -> Files:
    return {"interactions.csv": "\n".join([header, *rows]) + "\n"}


REVIEW = json.dumps({"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1_400_000_000}) + "\n"
REVIEWS = REVIEW * 3
GOOD = "u,a,1500000000"

# what is wrong -> the files of the folder, and the line that comes (a pattern)
ERRORS: dict[str, tuple[Files, str]] = {
    # the folder
    "an empty folder": ({}, "holds no files, of no known format; expected LETTER .* or 'ml-100k'"),
    "an unknown format": (
        {"log.txt": "x", "model.bin": b"\0"},
        r"holds log.txt, model.bin, of no known format; expected LETTER \(NAME.inter.json\), .*",
    ),
    "two formats": (
        csv(GOOD) | letter(),
        r"holds files of several formats \(LETTER, tables\); give a folder with one of them",
    ),
    "two data sets in LETTER's layout": (
        letter() | {"B.inter.json": "{}"},
        r"holds 2 data sets \(A, B\); expected one NAME.inter.json",
    ),
    "two data sets of RecBole": (
        {"a.inter": "user_id:token", "b.inter": "user_id:token"},
        r"holds 2 data sets \(a, b\); expected one NAME.inter",
    ),
    "two tables of other names": (
        {f"{n}.csv": "user,item,timestamp\nu,a,1\n" for n in ("a", "b")},
        r"holds 2 tables of users and items \(a.csv, b.csv\); give one of these files",
    ),
    "two tables of interactions": (
        csv(GOOD) | {"interactions.jsonl": "{}"},
        "holds interactions.csv and interactions.jsonl; keep one of them",
    ),
    "two files of reviews": (
        {"A.json": REVIEW, "B.json": REVIEW},
        r"holds 2 files of reviews \(A.json, B.json\); give one of them",
    ),
    "two files of metadata": (
        {"A_5.json": REVIEW, "meta_A.json": "{}", "meta_A.json.gz": gzip.compress(b"{}")},
        "holds meta_A.json and meta_A.json.gz; keep one of them",
    ),
    "a spreadsheet as the log": (
        {"interactions.xlsx": b"PK\3\4"},
        "interactions.xlsx is not read: it is a spreadsheet; save the sheet as .csv",
    ),
    "a packed log": (
        {"interactions.csv.zst": b"("},
        r"interactions.csv.zst is not read: it is packed; unpack it \(.gz can stay\)",
    ),
    "a gzipped file of another name": (
        {"interactions.csv": gzip.compress(b"user,item,timestamp\n")},
        "interactions.csv is gzipped, whatever its name says; give it a name that ends with .gz",
    ),
    "a spreadsheet of another name": (
        {"interactions.csv": b"PK\3\4\0"},
        "interactions.csv is a spreadsheet or a zip file, whatever its name says; save the sheet",
    ),
    "Parquet of another name": (
        {"interactions.csv": parquet(user=["u"], item=["a"], timestamp=[1])},
        "interactions.csv is Parquet, whatever its name says",
    ),
    "UTF-16 that is gzipped": (
        {"interactions.csv.gz": gzip.compress("user,item,timestamp\n".encode("utf-16"))},
        "interactions.csv.gz is UTF-16; convert it to UTF-8",
    ),
    "a separator that is not read": (
        {"interactions.txt": "user item timestamp\nu a 1\n"},
        "interactions.txt: its first line 'user item timestamp' has fields separated by ' '; "
        "expected a comma, a tab",
    ),
    "JSON lines nested too deeply": (
        {"interactions.jsonl": '{"user": ' + "[" * 100_000 + "\n"},
        r"line 1 is no JSON object \(lists or objects nested too deeply\); expected one",
    ),
    "JSON lines with a huge number": (
        {"interactions.jsonl": '{"user": "u", "item": "a", "timestamp": ' + "9" * 5000 + "}\n"},
        r"line 1 is no JSON object \(a whole number of thousands of digits\); expected one",
    ),
    # LETTER's layout
    "inter.json nested too deeply": (
        {"A.inter.json": '{"u": ' + "[" * 100_000},
        r"A.inter.json is no JSON \(lists or objects nested too deeply\); expected one object",
    ),
    "inter.json with a huge number": (
        {"A.inter.json": '{"u": [' + "9" * 5000 + "]}"},
        r"A.inter.json is no JSON \(a whole number of thousands of digits\); expected one",
    ),
    "a field of RecBole twice": (
        {"a.inter": "user_id:token\titem_id:token\titem_id:token\nu\ta\tb\n"},
        "a.inter has two fields 'item_id'; expected each name once",
    ),
    "a row of RecBole's items that is too long": (
        {
            "a.inter": "user_id:token\titem_id:token\ttimestamp:float\n"
            + "".join(f"{u}\t{i}\t{u * 5 + i}\n" for u in range(5) for i in range(5)),
            "a.item": "item_id:token\ttitle:token_seq\n1\tA\tB\n",
        },
        r"a.item cannot be read \(a row has more fields than there are columns\); repair it",
    ),
    "inter.json is empty": (
        {"A.inter.json": ""},
        r"A.inter.json is empty; expected one object, {...}",
    ),
    "inter.json without users": (
        {"A.inter.json": "{}"},
        r"A.inter.json holds no interactions; expected {user: \[items in time order\]}",
    ),
    "inter.json is broken": (
        {"A.inter.json": '{"u": [1, 2'},
        r"A.inter.json is no JSON \(Expecting ',' delimiter: line 1 column 12 .*\); expected one",
    ),
    "inter.json is a list": (
        {"A.inter.json": "[[1, 2]]"},
        "A.inter.json holds a list; expected an object",
    ),
    "inter.json is not UTF-8": (
        {"A.inter.json": b'{"\xff": [1]}'},
        r"A.inter.json is not UTF-8 \(invalid start byte at byte 2\); convert it to UTF-8",
    ),
    "an id that UTF-8 cannot write": (
        {"A.inter.json": r'{"u": ["a\ud800"]}'},
        r"an id is not UTF-8 near 'a\\ud800'; expected ids of valid text",
    ),
    "a user without a list": (
        {"A.inter.json": '{"u": 5}'},
        r"A.inter.json: user 'u' has 5; expected a list of items in time order",
    ),
    "a null item": (
        {"A.inter.json": '{"u": [1, null]}'},
        r"A.inter.json: user 'u' has the item None; expected an integer or a text",
    ),
    "preferences of another form": (
        letter() | {"A.user.json": '{"user_explicit_preference": ["x"]}'},
        "A.user.json: user_explicit_preference holds a list; expected {user: text or list of "
        "texts}",
    ),
    "a malformed token": (
        letter(index='{"0": ["<a_1>", "b_2"], "1": ["<a_1>", "<b_3>"]}'),
        r"A.index.json: item '0' has the token 'b_2'; expected the form '<a_12>'",
    ),
    "an item without tokens": (
        letter(index='{"0": []}'),
        r"A.index.json: item '0' has \[\]; expected a list of tokens",
    ),
    "an item that the index lacks": (
        letter(index='{"0": ["<a_1>"]}'),
        "A.index.json has 1 item but lacks 1, among them '1'; expected all 2",
    ),
    "CF embeddings of other items": (
        letter() | {"A-4d-sasrec.pt": saved(torch.zeros(3, 4))},
        "A-4d-sasrec.pt has 3 rows for 2 items; expected row i to be the i-th item",
    ),
    "CF embeddings of the wrong shape": (
        letter() | {"A-4d-sasrec.pt": saved(torch.zeros(2))},
        r"A-4d-sasrec.pt holds \(2,\); expected one tensor of shape \(items, dimensions\)",
    ),
    "CF embeddings in a dict": (
        letter() | {"A-4d-sasrec.pt": saved({"weight": torch.zeros(2, 4)})},
        "A-4d-sasrec.pt holds dict; expected one tensor",
    ),
    "CF embeddings with NaN": (
        letter() | {"A-4d-sasrec.pt": saved(torch.full((2, 4), torch.nan))},
        "A-4d-sasrec.pt holds values that are not finite; export it again",
    ),
    "CF embeddings that are no tensor file": (
        letter() | {"A-4d-sasrec.pt": b"not a tensor"},
        r"A-4d-sasrec.pt cannot be loaded \(.*\); expected one tensor, saved by torch.save",
    ),
    "two files of CF embeddings": (
        letter() | {"A-4d-x.pt": saved(torch.zeros(2, 4)), "A-4d-y.pt": saved(torch.zeros(2, 4))},
        r"several CF embeddings \(A-4d-x.pt, A-4d-y.pt\); keep one",
    ),
    # tables
    "an empty table": (
        {"interactions.csv": ""},
        "interactions.csv is empty; expected a header and rows",
    ),
    "only a header": (
        csv(),
        "interactions.csv holds no interactions; expected user, item and time in each row",
    ),
    "a missing column": (
        csv("u,a", header="user,item"),
        "interactions.csv has no column 'timestamp', only user, item; add a column 'timestamp', or "
        "say which it is with --columns timestamp=NAME; if the rows are in the order of time, "
        "--set data.order=rows takes that instead",
    ),
    "a misnamed column": (
        csv(GOOD, header="user,itm,timestamp"),
        "has no column 'item', only user, itm, timestamp; rename 'itm' to 'item', or give "
        "--columns item=itm",
    ),
    "no header row": (
        csv("u,b,1500000001", header=GOOD),
        "interactions.csv has no header row: its first line is 'u,a,1500000000', separated by ','; "
        "put the names of the columns before it, as in 'user,item,timestamp'",
    ),
    "no header row and another separator": (
        {"interactions.csv": "1::1193::5::978300760\n"},
        "has no header row: its first line is '1::1193::5::978300760', separated by '::'; put",
    ),
    "two columns that may be the item": (
        csv("u,a,b,1", header="user,asin,parent_asin,timestamp"),
        "has several columns that may be 'item': 'asin' and 'parent_asin'; choose with --columns "
        "item=asin",
    ),
    "two columns that may be the time": (
        csv("u,a,2018-01-01,12:00", header="user,item,date,time"),
        "has several columns that may be 'timestamp': 'date' and 'time'; choose with --columns",
    ),
    "nothing that is in use is proposed": (
        csv("u,1,2", header="user_id,users,timestamps"),
        "has no column 'item', only user_id, users, timestamps; add a column 'item', or say which "
        "it is with --columns item=NAME",
    ),
    "many columns": (
        csv("u", header="user," + ",".join(f"c{i}" for i in range(20))),
        "has no column 'item', only user, c0, .*, c10 and 9 more; add a column 'item'",
    ),
    "a line with too many fields": (
        csv(GOOD, "u,b,1500000001,x,y"),
        r"interactions.csv has 5 fields in line \d+, its header has 3; put fields with a sep",
    ),
    "a CSV that is not UTF-8": (
        {"interactions.csv": b"user,item,timestamp\nu\xff,a,1\n"},
        r"interactions.csv is not UTF-8: convert it to UTF-8",
    ),
    "a Parquet file that is cut off": (
        {"interactions.parquet": b"PAR1\0\0"},
        r"interactions.parquet cannot be read \(.*\); repair it or export it again",
    ),
    "every id missing": (
        csv(",a,1500000000", "u,,1500000001"),
        "interactions.csv: every row lacks a user or an item; expected ids in both",
    ),
    "ids that are true or false": (
        {"interactions.parquet": parquet(user=[True], item=["a"], timestamp=[1])},
        "interactions.parquet: user ids are Boolean; expected text or integers",
    ),
    "an unparsable time": (
        csv(GOOD, "u,b,yesterday"),
        r"interactions.csv: row 2 has time 'yesterday'; expected seconds or milliseconds since "
        r"1970, or ISO 8601 \(2018-07-31 or 2018-07-31T12:00:00\)",
    ),
    "a date that does not exist": (
        csv("u,a,2018-02-28", "u,b,2018-02-30"),
        "interactions.csv: row 2 has time '2018-02-30'",
    ),
    "a missing time": (csv(GOOD, "u,b,"), "interactions.csv: row 2 has time None"),
    "a negative time": (csv(GOOD, "u,b,-5"), "interactions.csv: row 2 has time '-5'"),
    "a time beyond 2100": (csv("u,b,2218-01-01"), "row 1 has time '2218-01-01'"),
    "an infinite time": (
        {"interactions.parquet": parquet(user=["u"], item=["a"], timestamp=[float("inf")])},
        "interactions.parquet: row 1 has time inf",
    ),
    "seconds beside milliseconds": (
        csv(GOOD, "u,b,1500000000000"),
        "times are in different units or absurd: 1500000000 in row 1, 1500000000000 in row 2; "
        "expected seconds or milliseconds throughout",
    ),
    "times that are durations": (
        {"interactions.parquet": parquet(user=["u"], item=["a"], timestamp=[timedelta(days=1)])},
        r"interactions.parquet: times are Duration\(.*\); expected numbers, ISO 8601 text or dates",
    ),
    "nothing left of the core": (
        csv(GOOD, "u,b,1500000001"),
        "of 1 user, 2 items and 2 interactions none is left with 5 interactions per user and item;"
        r" lower data.k_core \(0 filters nothing\)",
    ),
    "a table of items without titles": (
        csv(*[f"u,a,{t}" for t in range(5)]) | {"items.csv": "item,titel\na,x\n"},
        "items.csv has no column 'title', only item, titel; rename 'titel' to 'title'",
    ),
    # JSON lines
    "an empty JSON lines file": (
        {"interactions.jsonl": ""},
        "interactions.jsonl is empty; expected one JSON object per line",
    ),
    "a broken line": (
        {"A.json": REVIEWS + '{"reviewerID": "A1", \n' + REVIEWS},
        r"A.json: line 4 is no JSON object \(.* at character \d+\); expected one object per line",
    ),
    "a line that is no object": (
        {"A.json": REVIEWS + "\n[1, 2]\n"},
        "A.json: line 5 holds a list; expected an object",
    ),
    "a line that is not UTF-8": (
        {"A.json": REVIEW.encode() + REVIEW.encode().replace(b"A1", b"A\xe9")},
        r"A.json: line 2 is not UTF-8 \(invalid continuation byte at byte 17\); convert the file",
    ),
    "a truncated gz": (
        {"A.json.gz": gzip.compress(REVIEWS.encode() * 50)[:-30]},
        r"A.json.gz is cut off or damaged after line \d+ \(.*\); download it again",
    ),
    "a gz that is none": (
        {"A.json.gz": REVIEWS},
        r"A.json.gz is cut off or damaged after line 0 \(Not a gzipped file .*\); download it",
    ),
    "a review without time": (
        {"A.json": REVIEWS + '{"reviewerID": "A1", "asin": "B1"}\n'},
        "A.json: row 4 has time None",
    ),
    "broken metadata": (
        {
            "A.json": "".join(REVIEW.replace("1400", f"140{n}") for n in range(5)),
            "meta_A.json": '{"asin": "B1", "ti',
        },
        "meta_A.json: line 1 is no JSON object",
    ),
    # RecBole
    "a header without types": (
        {"a.inter": "user_id\titem_id\ttimestamp\n1\t2\t3\n"},
        r"a.inter: header 'user_id\\titem_id\\ttimestamp' has no type for 'user_id'; expected",
    ),
    "atomic files without time": (
        {"a.inter": "user_id:token\titem_id:token\n1\t2\n"},
        "a.inter has no column 'timestamp', only user_id, item_id; add a column 'timestamp'",
    ),
    "an empty atomic file": (
        {"a.inter": ""},
        "a.inter is empty; expected a header such as user_id:token",
    ),
    "a time that RecBole calls a float": (
        {"a.inter": "user_id:token\titem_id:token\ttimestamp:float\n1\t2\tx\n"},
        "a.inter: row 1 has time 'x'; expected seconds",
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_one_line_says_what_is_wrong(tmp_path: Path, what: str) -> None:
    files, expected = ERRORS[what]
    with pytest.raises(DataError) as caught:
        read(put(tmp_path, files))
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "\n" not in message
    assert str(tmp_path) in message or "an id is not UTF-8" in message


@pytest.mark.parametrize(
    ("files", "source", "expected"),
    [
        ({}, "nowhere", "nowhere does not exist; expected a folder or file of LETTER"),
        ({"x.txt": "x"}, "x.txt", "x.txt has no column 'user', only x; add a column 'user'"),
        ({"x.npy": "x"}, "x.npy", "x.npy is of no known format; expected LETTER"),
        ({"x.csv.zip": "x"}, "x.csv.zip", "x.csv.zip is packed; unpack it and give what was in it"),
        (
            {"x.json": '{"user": 1, "item": 2}\n'},
            "x.json",
            "x.json has no column 'timestamp', only user, item; add a column 'timestamp'",
        ),
        ({"x.jsonl": ""}, "x.jsonl", "x.jsonl is empty; expected one JSON object per line"),
        ({"x.csv": ""}, "x.csv", "x.csv is empty; expected a header and rows"),
        (
            {"x.csv.gz": "x"},
            "x.csv.gz",
            r"x.csv.gz cannot be read \(Not a gzipped file .*\); d",
        ),
    ],
)
def test_the_source_itself(tmp_path: Path, files: Files, source: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read(put(tmp_path, files) / source)


def test_a_negative_core(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"k_core is -1; expected 0 \(no filtering\) or more"):
        read(tmp_path, k_core=-1)


# what is doubtful -> the files of the folder, and the warning that comes
WARNINGS: dict[str, tuple[Files, str]] = {
    "a user with too little history": (
        csv(GOOD, "u,b,1500000001", "v,a,1500000002"),
        "2 users with fewer than 3 interactions: trained on, not evaluated",
    ),
    "duplicate rows": (
        csv(GOOD, GOOD, "u,b,1500000001", GOOD),
        "2 duplicate interactions (same user, item and time): dropped",
    ),
    "some ids missing": (
        csv(GOOD, ",a,1500000001", "u,,1500000002", ""),
        "3 interactions without user or item: dropped",
    ),
    "an item without title": (
        csv(GOOD, "u,b,1500000001") | {"items.csv": "item,title,maker\na,,Suds\nb,B,\n"},
        "1 item without title: shown by id",
    ),
    "an item without text": (
        csv(GOOD, "u,b,1500000001") | {"items.csv": "item,title\na,A\n"},
        "1 item without text: the id stands in for it",
    ),
    "no texts at all": (
        csv(GOOD) | {"items.csv": "item,title\na,\n"},
        "no item has a text: items are known by their interactions only",
    ),
    "items that nobody touched": (
        csv(GOOD) | {"items.csv": "item,title\na,A\nb,B\nc,C\nc,C\n,D\n"},
        "2 catalogue items without interactions: dropped",
    ),
    "another name for a column": (
        csv(GOOD, header="USER_ID,item,ts"),
        "interactions.csv: column 'USER_ID' is read as 'user'",
    ),
    "a user of LETTER's layout without items": (
        {"A.inter.json": '{"u": [1], "v": []}'},
        "1 user without items: dropped",
    ),
    "users of whom other things are known": (
        csv(GOOD) | {"users.csv": "user,gender,age\nu,F,25\n"},
        "users.csv is not read: it has no columns 'user' and 'preference', only user, gender, age",
    ),
    "another separator": (
        csv("u;a;1", header="user;item;timestamp"),
        "interactions.csv: fields are separated by ';'",
    ),
    "one table of any name": (
        {"log.csv": "user,item,timestamp\nu,a,1\n", "notes.txt": "x"},
        "log.csv is the only table of users and items here: read",
    ),
    "titles that are not read": (
        csv("u,a,1,T", header="user,item,timestamp,title"),
        "interactions.csv: column 'title' is not read; if it has the titles of the items, say so "
        "with --columns title=title",
    ),
    "a spreadsheet as the catalogue": (
        csv(GOOD) | {"items.xlsx": b"PK\3\4"},
        "items.xlsx is NOT READ: it is a spreadsheet; save the sheet as .csv",
    ),
    "an items' row of RecBole that is too short": (
        {
            "a.inter": "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nu\tb\t2\n",
            "a.item": "item_id:token\ttitle:token_seq\na\nb\tBee\n",
        },
        "1 item without title: shown by id",
    ),
    "no metadata": ({"A.json": REVIEW}, "no metadata file meta_A.json(l)(.gz)"),
}


@pytest.mark.parametrize("what", WARNINGS)
def test_what_is_dropped_or_doubtful_is_counted(tmp_path: Path, what: str) -> None:
    files, expected = WARNINGS[what]
    assert expected in read(put(tmp_path, files), k_core=0).warnings


def test_nothing_is_said_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    dataset = read(put(tmp_path, {"A.inter.json": '{"u": [0, 1]}'}))
    assert not any("A.item.json" in line for line in dataset.warnings)


def test_json_lines_with_an_ending_in_capitals(tmp_path: Path) -> None:
    line = json.dumps({"user": "u", "item": "a", "timestamp": 1})
    put(tmp_path, {"interactions.jsonl.GZ": gzip.compress(line.encode())})
    assert read(tmp_path, k_core=0).item_ids == ("a",)


def test_a_column_given_for_one_role_is_not_taken_for_another(tmp_path: Path) -> None:
    put(tmp_path, csv(GOOD))
    with pytest.raises(DataError, match="column 'item' was given for 'user'; say which column is"):
        read(tmp_path, k_core=0, columns={"user": "item"})
    assert read(tmp_path, k_core=0, columns={"title": "item"}).titles == ("a",)
    swapped = read(tmp_path, k_core=0, columns={"user": "item", "item": "user"})
    assert (swapped.user_ids, swapped.item_ids) == (("a",), ("u",))
