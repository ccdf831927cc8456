"""Raw Amazon reviews of 2014, 2018 and 2023 with their metadata: JSON lines, gzipped or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from letterrec.data.attributes import attributes_in
from letterrec.data.dataset import Dataset
from letterrec.data.readers.base import Reader, ReadOptions
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.jsonlines import holds_keys, is_json_lines, numbered_lines, parse
from letterrec.data.readers.side_tables import LookUp, Rows, look_up_in
from letterrec.data.readers.table_files import TableFile
from letterrec.data.text import ItemText, item_text, title_of, title_words
from letterrec.errors import DataError

_KEYS_2018 = {  # 2014 too
    "user": "reviewerID",
    "item": "asin",
    "timestamp": "unixReviewTime",
    "rating": "overall",
}
_KEYS_2023 = {
    "user": "user_id",
    "item": "parent_asin",
    "timestamp": "timestamp",
    "rating": "rating",
}
_ATTRIBUTES = ("brand", "store", "categories", "category", "main_category", "main_cat")
_TEXTS = ("brand", "store", "categories", "category", "features", "feature", "description")
_ASIN = re.compile(rb"""["']asin["']\s*:\s*["']([^"']+)["']""")
_PARENT = re.compile(rb"""["']parent_asin["']\s*:\s*["']([^"']+)["']""")


def read(source: Path, options: ReadOptions) -> Dataset:
    """Read a file of reviews, or the only one of a folder; without ``k_core`` that is 5.

    Metadata are taken from the file beside the reviews that is named alike: ``meta_Beauty.json.gz``
    for ``reviews_Beauty_5.json.gz``, ``Beauty.json`` and so on. An item's text is its title,
    brand or store, categories, features and description.

    Raises:
        DataError: several files of reviews; a line is broken; see `read_interactions`.
    """
    path = source if source.is_file() else _reviews_in(source)
    options.refuse_title(path)
    table = TableFile(path, "jsonl", (path,))
    found = table.names()
    keys = _KEYS_2018 if _KEYS_2018["user"] in found else _KEYS_2023
    notes: list[str] = []
    columns = options.log_columns(found, path, notes, keys)
    metadata = [
        f
        for f in path.parent.iterdir()
        if is_json_lines(f) and f.name.startswith("meta_") and category_of(f) == category_of(path)
    ]
    if len(metadata) > 1:
        names = " and ".join(sorted(f.name for f in metadata))
        raise DataError(f"{path.parent} holds {names}; keep one of them")
    if not metadata:
        notes.append(f"no metadata file meta_{category_of(path)}.json(l)(.gz)")
    return read_interactions(
        table,
        columns,
        options,
        name=category_of(path),
        catalogue=metadata_in(metadata[0]) if metadata else None,
        notes=notes,
    )


def _reviews_in(folder: Path) -> Path:
    found = [f for f in folder.iterdir() if is_json_lines(f) and not f.name.startswith("meta_")]
    if len(found) != 1:
        names = ", ".join(sorted(f.name for f in found))
        raise DataError(f"{folder} holds {len(found)} files of reviews ({names}); give one of them")
    return found[0]


def category_of(path: Path) -> str:
    """``Beauty`` of ``reviews_Beauty_5.json.gz``, ``meta_Beauty.jsonl`` and ``Beauty.json``."""
    stem = path.name.split(".json")[0]
    return re.sub(r"_5$", "", re.sub(r"^(reviews|meta)_", "", stem))


def metadata_in(path: Path) -> LookUp[ItemText]:
    """The items of a file of metadata."""

    def rows() -> Rows[ItemText]:
        for number, line in numbered_lines(path):
            match = _PARENT.search(line) or _ASIN.search(line)
            if match:  # parse only what is wanted: metadata can be huge
                key: object = match[1].decode("utf-8", "replace")
            else:
                item = parse(path, number, line)
                key = item.get("parent_asin") or item.get("asin")
            yield key, partial(_item, path, number, line)

    return look_up_in(path, rows)


def _item(path: Path, number: int, line: bytes) -> ItemText:
    """Title and text; of titles, which were cut out of web pages, the words only."""
    item = parse(path, number, line)
    categories = item.get("categories") or item.get("category")
    found = item_text(title_words(title_of(item.get("title"))), _further_texts(item), categories)
    rest = {key: item[key] for key in _ATTRIBUTES if key in item}
    return found._replace(attributes=attributes_in(rest))


def _further_texts(item: Mapping[str, object]) -> list[object]:
    """Brand, categories, ...; 2014 has a list of category paths, here joined into one."""
    texts = [item.get(key) for key in _TEXTS]
    return [
        [t for path in v for t in (path if isinstance(path, list) else [path])]
        if isinstance(v, list) and v and isinstance(v[0], list)
        else v
        for v in texts
    ]


_NEEDED = ("user", "item", "timestamp")
READERS = tuple(
    Reader(name, partial(holds_keys, [keys[role] for role in _NEEDED]), read, by_content=True)
    for name, keys in (("Amazon 2014 or 2018", _KEYS_2018), ("Amazon 2023", _KEYS_2023))
)
