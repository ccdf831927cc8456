"""The Yelp Open Dataset: ``yelp_academic_dataset_review.json`` and ``..._business.json``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from letterrec.data.dataset import Dataset
from letterrec.data.readers.base import Reader, ReadOptions
from letterrec.data.readers.interactions import read_interactions
from letterrec.data.readers.jsonlines import holds_keys, is_json_lines, records
from letterrec.data.readers.side_tables import LookUp, Rows, look_up_in
from letterrec.data.readers.table_files import TableFile
from letterrec.data.text import ItemText, item_text
from letterrec.errors import DataError

_KEYS = {"user": "user_id", "item": "business_id", "timestamp": "date", "rating": "stars"}


def read(source: Path, options: ReadOptions) -> Dataset:
    """Read the folder of the data set, or its file of reviews; without ``k_core`` that is 5.

    A business's title is its name; its text is name, categories, city and state.

    Raises:
        DataError: no file, or several files, of reviews; a line is broken; see `read_interactions`.
    """
    path = source if source.is_file() else _only(source, "review")
    if path is None:
        raise DataError(f"{source} has no yelp_academic_dataset_review.json; give the file itself")
    options.refuse_title(path)
    table = TableFile(path, "jsonl", (path,))
    notes: list[str] = []
    columns = options.log_columns(table.names(), path, notes, _KEYS)
    businesses = _only(path.parent, "business")
    return read_interactions(
        table,
        columns,
        options,
        name="Yelp",
        catalogue=_businesses_in(businesses) if businesses else None,
        notes=notes,
    )


def _only(folder: Path, kind: str) -> Path | None:
    """The file of that kind, as ``yelp_academic_dataset_review.json`` is of ``review``."""
    files = [f for f in folder.iterdir() if is_json_lines(f)]
    found = sorted(f for f in files if f.name.split(".json")[0].endswith(kind))
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(f.name for f in found)}; keep one of them")
    return found[0] if found else None


def _businesses_in(path: Path) -> LookUp[ItemText]:
    def rows() -> Rows[ItemText]:
        for _, business in records(path):
            further = {f: business.get(f) for f in ("categories", "city", "state")}
            yield business.get("business_id"), partial(item_text, business.get("name"), further)

    return look_up_in(path, rows)


READER = Reader("Yelp", partial(holds_keys, set(_KEYS.values())), read, by_content=True)
