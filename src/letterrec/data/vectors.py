"""Vectors from a file of the user, one per item, put into the order of a data set's items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset
from letterrec.data.ids import checked_id
from letterrec.errors import DataError
from letterrec.files import fingerprint
from letterrec.progress import say

Order = Literal["ids", "rows"]
_TYPES = ".parquet, .npz, .npy, .safetensors or .pt file"


@dataclass(frozen=True)
class _Found:
    """What a file holds.

    Attributes:
        vectors: a matrix, one row per item, not yet checked.
        ids: of the rows; None where the file has none.
        items: the fingerprint of the items that it was made for, of a LetterRec run.
    """

    vectors: object
    ids: Sequence[object] | None = None
    items: str | None = None


def file_of(source: str | Path, setting: str, expected: str) -> Path:
    """The file that the setting ``source`` of a section names.

    Args:
        source: as it was given.
        setting: the section.
        expected: what may be given, for errors.

    Raises:
        DataError: it is no file, and looks like a word instead.
    """
    path = Path(source).expanduser()
    if not path.suffix and not path.exists():
        raise DataError(f"{setting}.source = {str(source)!r}: expected {expected}")
    return path


def read_vectors(
    path: Path,
    dataset: Dataset,
    *,
    what: str,
    setting: str,
    ids: str | Path | None = None,
    order: Order = "ids",
    dim: int | None = None,
    quiet: bool = False,
) -> NDArray[np.float32]:
    """Vectors of a file, row ``i`` belonging to item row ``i``.

    The file says whose vectors they are: a ``.parquet`` table has a column ``item`` and either a
    column of lists or a column of numbers for each dimension; an ``.npz`` file holds ``ids`` and
    ``embeddings`` (or ``vectors``). A ``.npy``, ``.safetensors`` or ``.pt`` file holds a matrix
    alone, whose ids are in a file of their own; that of a LetterRec run carries the fingerprint of
    its items instead. Vectors of items that the data do not have are left out, and counted.

    Args:
        path: of the file.
        dataset: whose items they are.
        what: their name in errors.
        setting: the section of the settings that names the file, for errors.
        ids: a file with one id a line, or a ``.csv``, ``.tsv`` or ``.parquet`` table with a column
            ``item``; a row for each vector.
        order: ``"rows"`` takes vectors without ids in the order of ``dataset.item_ids``.
        dim: the width that is needed; None takes any.
        quiet: do not say what is left out.

    Returns:
        float32 ``(n_items, d)``.

    Raises:
        DataError: the files cannot be read, name no ids, or do not fit the items.
    """
    found = _read(path, what)
    if ids is not None:
        found = _Found(found.vectors, _read_ids(Path(ids).expanduser(), what))
    where = f"{what} {path}"
    vectors = _matrix(found.vectors, where, dataset.n_items, dim)
    if found.ids is not None:
        if order == "rows":
            raise DataError(
                f"{where}: has ids, so {setting}.order = 'rows' cannot be meant; leave it out"
            )
        rows = _rows_of(found.ids, len(vectors), dataset, where)
        others = len(vectors) - len(rows)
        if others and not quiet:
            say(f"  note: {where}: {others} rows of items that the data do not have are left out")
        vectors = vectors[rows]
    elif found.items is not None:
        if found.items != fingerprint(dataset.item_ids):
            raise DataError(
                f"{where}: made for other items, or for another order of them; train them anew "
                f"({setting}.source=train) or give the file that fits these data"
            )
    elif order != "rows":
        raise DataError(
            f"{where}: does not say which item a row belongs to; give a .parquet file with a "
            f"column 'item', an .npz file with 'ids' and 'embeddings', or {setting}.ids=FILE with "
            f"one id a line ({setting}.order=rows if the rows are in the order of "
            "letterrec.read(SOURCE).item_ids)"
        )
    return checked(vectors, where, dataset.n_items)


def checked(
    vectors: object, where: str, n_items: int, dim: int | None = None
) -> NDArray[np.float32]:
    """Vectors in the order of the items as float32 ``(n_items, d)``.

    Raises:
        DataError: there are more or fewer, of another width, or with NaN or infinity.
    """
    matrix = _matrix(vectors, where, n_items, dim)
    if len(matrix) != n_items:
        hint = " (drop the padding item's row)" if len(matrix) == n_items + 1 else ""
        raise DataError(
            f"{where}: {len(matrix)} rows for {n_items} items; "
            f"give one row per item, in the order of the items{hint}"
        )
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinity
        out = np.ascontiguousarray(matrix, dtype=np.float32)
    broken = int((~np.isfinite(out)).any(1).sum())
    if broken:
        raise DataError(f"{where}: {broken} rows hold NaN or infinity; train anew")
    return out


def _matrix(found: object, where: str, n_items: int, dim: int | None) -> NDArray[np.floating]:
    if not isinstance(found, np.ndarray):
        found = _as_array(found)
    shape = tuple(getattr(found, "shape", ()))
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or len(shape) != 2:
        kind = getattr(found, "dtype", type(found).__name__)
        raise DataError(
            f"{where}: {kind} of shape {shape}; expected floating-point numbers of "
            f"shape ({n_items}, {dim or 'any'})"
        )
    if shape[1] == 0 or (dim is not None and shape[1] != dim):
        raise DataError(
            f"{where}: {shape[1]} columns, expected {dim or 'at least one'}; "
            f"set collaborative.dim and tokenizer.dim to {shape[1] or 'their number'}"
        )
    return found


def _rows_of(
    given: Sequence[object], n_vectors: int, dataset: Dataset, where: str
) -> NDArray[np.int64]:
    """The row of each of the data's items."""
    if len(given) != n_vectors:
        raise DataError(
            f"{where}: {len(given)} ids for {n_vectors} rows; give one id for each row, in order"
        )
    rows: dict[str, int] = {}
    for row, value in enumerate(given):
        item = checked_id(value, where, f"row {row + 1}")
        if item is None:
            raise DataError(f"{where}: row {row + 1} has no item id; every row needs one")
        if item in rows:
            raise DataError(
                f"{where}: item {item!r} has two rows ({rows[item] + 1} and {row + 1}); keep one"
            )
        rows[item] = row
    missing = [item for item in dataset.item_ids if item not in rows]
    if missing:
        raise DataError(
            f"{where}: no row for {len(missing)} of {dataset.n_items} items, for example "
            f"{missing[0]!r} (ids there look like {next(iter(rows), '')!r}); give a row for each "
            "item of the data"
        )
    return np.array([rows[item] for item in dataset.item_ids], dtype=np.int64)


def _read(path: Path, what: str) -> _Found:
    where = f"{what} {path}"
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{where}: expected a {_TYPES}")
    try:
        with path.open("rb"):
            pass
        return reader(path, where)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{where}: there is no such file; expected a {_TYPES}") from None
    except PermissionError:
        raise DataError(f"{where}: permission denied; make it readable") from None
    except Exception:  # a damaged file makes the parsers raise anything
        raise DataError(
            f"{where}: not a readable {path.suffix} file of plain numbers; "
            "save the matrix alone, as a tensor or an array"
        ) from None


def _read_npy(path: Path, where: str) -> _Found:
    with path.open("rb") as file:
        return _Found(np.load(file, allow_pickle=False))


def _read_npz(path: Path, where: str) -> _Found:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        name = next((n for n in ("embeddings", "vectors") if n in file), None)
        if name is None:
            held = ", ".join(file.files) or "nothing"
            raise DataError(f"{where}: holds {held}; expected 'ids' and 'embeddings'")
        return _Found(file[name], file["ids"].tolist() if "ids" in file else None)


def _as_array(found: object) -> object:
    """A tensor of floating-point numbers as an array; anything else as it is."""
    from torch import Tensor

    if isinstance(found, Tensor) and found.is_floating_point():
        return found.detach().to_dense().float().cpu().numpy()
    return found


def _read_torch(path: Path, where: str) -> _Found:
    import torch

    with warnings.catch_warnings():  # of an unusual pickle protocol: it is refused anyway
        warnings.simplefilter("ignore")
        return _Found(_only_matrix(torch.load(path, map_location="cpu", weights_only=True), where))


def _read_safetensors(path: Path, where: str) -> _Found:
    from letterrec.files.tensors import read_tensors

    tensors, about = read_tensors(path)
    return _Found(_only_matrix(tensors, where), items=about.get("items"))


def _read_parquet(path: Path, where: str) -> _Found:
    frame = pl.read_parquet(path.read_bytes())
    if "item" not in frame.columns:
        columns = ", ".join(frame.columns)
        raise DataError(f"{where}: no column 'item'; columns there: {columns}")
    ids, rest = frame["item"].to_list(), frame.drop("item")
    numeric = [name for name, dtype in rest.schema.items() if dtype.is_numeric()]
    lists = [name for name, dtype in rest.schema.items() if dtype.is_nested()]
    whole = [name for name in numeric if rest.schema[name].is_integer()]
    if whole and len(whole) < len(numeric) and not lists:
        raise DataError(
            f"{where}: {', '.join(map(repr, whole[:3]))} {'holds' if len(whole) == 1 else 'hold'} "
            "whole numbers beside columns of fractions; expected a column for each dimension and "
            "no other: leave out what is an index, or store it as floats"
        )
    if numeric and not lists:
        return _Found(rest.select(numeric).cast(pl.Float64).to_numpy(), ids)
    if len(lists) != 1:
        raise DataError(
            f"{where}: expected beside 'item' one column of lists, or a column of numbers for "
            f"each dimension; columns there: {', '.join(frame.columns)}"
        )
    rows = rest[lists[0]].to_list()
    if None in rows or len({len(row) for row in rows}) > 1:
        raise DataError(f"{where}: the lists in {lists[0]!r} are not all of one length")
    return _Found(np.array(rows, dtype=np.float64).reshape(len(rows), -1), ids)


_READERS: dict[str, Callable[[Path, str], _Found]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".safetensors": _read_safetensors,
}


def _only_matrix(found: object, where: str) -> object:
    if not isinstance(found, dict):
        return found
    matrices = {k: v for k, v in found.items() if getattr(v, "ndim", 0) == 2}
    if len(matrices) != 1:
        raise DataError(
            f"{where}: holds {len(matrices)} matrices "
            f"({', '.join(matrices) or 'none'}); save the item embeddings alone"
        )
    return next(iter(matrices.values()))


def _read_ids(path: Path, what: str) -> list[object]:
    """One id a line, or the column ``item`` of a table."""
    try:
        if path.suffix.lower() not in (".csv", ".tsv", ".parquet"):
            return list(path.read_text("utf-8-sig").splitlines())
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path.read_bytes())
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
            frame = pl.read_csv(path.read_bytes(), infer_schema=False, separator=separator)
    except FileNotFoundError:
        raise DataError(f"ids of {what} {path}: there is no such file") from None
    except PermissionError:
        raise DataError(f"ids of {what} {path}: permission denied; make it readable") from None
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"ids of {what} {path}: cannot be read ({reason}); expected one id a line, or a .csv, "
            ".tsv or .parquet table with a column 'item'"
        ) from None
    if "item" not in frame.columns:
        raise DataError(
            f"ids of {what} {path}: no column 'item'; columns there: {', '.join(frame.columns)}"
        )
    return list(frame["item"])
