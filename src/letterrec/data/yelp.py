"""The Yelp Open Dataset: ``yelp_academic_dataset_review.json`` and ``..._business.json``.

Knows their keys. Leaves streaming to `jsonlines`, checks, k-core and order to `events`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from letterrec.data.catalogue import Catalogue, ItemText, item_text, look_up_in
from letterrec.data.dataset import Dataset
from letterrec.data.events import collect_json_lines, dataset_from_events
from letterrec.data.jsonlines import is_json_lines, records
from letterrec.errors import DataError

_KEYS = {"user": "user_id", "item": "business_id", "time": "date"}


def read(source: Path, *, k_core: int | None = None) -> Dataset:
    """Read the folder of the data set, or its file of reviews; None for ``k_core`` means 5.

    A business's title is its name; its text is name, categories, city and state.

    Raises:
        DataError: no file, or several files, of reviews; a line is broken; see `events`.
    """
    path = source if source.is_file() else _only(source, "review")
    if path is None:
        raise DataError(f"{source} has no yelp_academic_dataset_review.json; give the file itself")
    businesses = _only(path.parent, "business")
    return dataset_from_events(
        collect_json_lines(path, _KEYS),
        name="Yelp",
        where=path,
        k_core=k_core,
        catalogue=_catalogue(businesses) if businesses else None,
    )


def _only(folder: Path, kind: str) -> Path | None:
    """The file of that kind, as ``yelp_academic_dataset_review.json`` is of ``review``."""
    files = [f for f in folder.iterdir() if is_json_lines(f)]
    found = sorted(f for f in files if f.name.split(".json")[0].endswith(kind))
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(f.name for f in found)}; keep one of them")
    return found[0] if found else None


def _catalogue(path: Path) -> Catalogue:
    def rows() -> Iterator[tuple[object, Callable[[], ItemText]]]:
        for _, business in records(path):
            further = {f: business.get(f) for f in ("categories", "city", "state")}
            yield business.get("business_id"), partial(item_text, business.get("name"), further)

    return look_up_in(path, rows)
