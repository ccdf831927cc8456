"""The file that keeps what changed in a run's catalogue since training: `RUN/catalogue.parquet`.

The file is replaced as a whole, under a lock: after a kill or on a full disk, the previous file is
still there.

Columns: ``item``, ``title``, ``text``, ``state``, ``level_1`` to ``level_L``, ``content`` (float32
list), ``domain`` where items were added to a named one, ``image`` where added items have one, and
``shown_title``, ``shown_text``, ``shown_image`` where one of these was edited. Added items have all
but what is shown; an item trained on appears only when it is blocked, deleted or edited, with that
alone. A deleted item's row and identifier stay
taken, so that a log or a history that refers to them never means another item.

The file also keeps what the latest edits with an idempotency key gave, so that a request whose
answer was lost is not made twice, by whichever server it is repeated to.

Every write gives the file a new lineage id, by which a server notices that the file was replaced by
an older or another one, even with the same number of edits.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import filelock
import numpy as np
import polars as pl

from letterrec.errors import Overloaded, RunError, short
from letterrec.files import atomic_path, denied, fingerprint
from letterrec.runs.layout import Layout
from letterrec.serving.catalogue.changes import Changes, Receipt, Words

_MOST_EDITS = 2**53  # the largest count that JSON readers represent exactly
_RECEIPTS = 1_000  # edits with a key that are remembered
PATIENCE = 60.0  # seconds that an edit waits for another one's lock


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Lock the run's catalogue against other editors, in this process or another.

    Args:
        folder: of the run.
        patience: seconds to wait for another editor.

    Raises:
        Overloaded: another editor holds the lock for longer.
        RunError: the folder is not there, or cannot be written.
    """
    _check_there(folder)  # creating the lock would create the folder
    lock = filelock.FileLock(Layout(folder).catalogue_lock, timeout=max(0.0, patience))
    try:
        lock.acquire()
    except filelock.Timeout:
        raise Overloaded(
            "another process is editing the catalogue and did not end in time; nothing was "
            "changed: try again when it is done"
        ) from None
    except OSError as error:
        is_denied = isinstance(error, PermissionError)
        hint = "check its owner" if is_denied else f"see what {lock.lock_file} is"
        raise RunError(f"{folder} cannot be written ({error.strerror}); {hint}") from None
    try:
        yield
    finally:
        lock.release()


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise RunError(f"the run's folder is not there ({folder}); put it back")


def version_of(folder: Path) -> tuple[int, int, int] | None:
    """The version of the file, which differs after every replacement; None if there is no file."""
    try:
        about = Layout(folder).catalogue.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def read_changes(
    folder: Path, run: str, sizes: Sequence[int], width: int | None, trained: Container[str]
) -> Changes:
    """The edits so far.

    Args:
        folder: of the run.
        run: fingerprint of the trained identifiers; edits of another training are refused.
        sizes: codes per level of the identifiers.
        width: numbers per content embedding; None where items have none.
        trained: ids of the items trained on.

    Raises:
        RunError: the file is damaged, may not be read, or belongs to another training of the run;
            or the folder is not there.
    """
    path = Layout(folder).catalogue
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise RunError(f"{path} is no regular file; put back a copy, or move it away")
        data = path.read_bytes()  # once: the file may be replaced at any moment
        about = pl.read_parquet_metadata(BytesIO(data))
        belongs = about["run"]
        changes = _parsed(data, about, sizes, width, trained) if belongs == run else None
    except FileNotFoundError:
        _check_there(folder)
        return Changes.none(len(sizes))
    except (pl.exceptions.PolarsError, KeyError, TypeError, ValueError, OSError) as error:
        if (refused := denied(path)) is not None:
            raise refused from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"{path} is damaged ({reason}); put back a copy, or delete it to return to the "
            "catalogue as it was trained"
        ) from None
    if changes is None:
        raise RunError(
            f"{path} holds edits of other identifiers than this run's; "
            "delete it and add the items again"
        )
    return changes


def _parsed(
    data: bytes,
    about: Mapping[str, str],
    sizes: Sequence[int],
    width: int | None,
    trained: Container[str],
) -> Changes:
    """Parse the file's bytes; any error that polars or numpy raises means damage."""
    frame = pl.read_parquet(BytesIO(data))
    for name in ("item", "title", "text", "state"):
        if frame.schema[name] != pl.String:
            raise ValueError(f"the column {name} holds {frame.schema[name]} instead of text")
    added = frame.filter(pl.col("level_1").is_not_null()) if sizes else frame.clear()
    for name in ("domain", "image"):
        if name in frame.columns and frame.schema[name] != pl.String:
            raise ValueError(f"the column {name} holds no text")
    texts = (frame["item"], added["title"], added["text"])
    if any(column.null_count() for column in texts):
        raise ValueError("an id, a title or a text is missing")
    if frame["item"].is_duplicated().any():
        raise ValueError("an item comes twice")
    if any(item in trained for item in added["item"]):
        raise ValueError("an item that was trained on is among those added")
    generation = int(about["generation"])
    if not 0 <= generation < _MOST_EDITS:
        raise ValueError(f"the number of edits is {short(about['generation'], 20)}")
    codes = np.zeros((len(added), len(sizes)), dtype=np.int32)
    for level, size in enumerate(sizes):
        column = added[f"level_{level + 1}"]
        whole = column.dtype.is_integer() and not column.null_count()
        if len(added) and not (whole and column.is_between(0, size - 1).all()):
            raise ValueError(f"a code of level {level + 1} is not between 0 and {size - 1}")
        codes[:, level] = column.to_numpy() if len(added) else 0
    widths = added["content"].list.len().unique().to_list()
    if widths not in ([], [width]):
        raise ValueError(f"content embeddings of {widths} numbers; this run's have {width}")
    content = added["content"].explode(empty_as_null=False).cast(pl.Float32).to_numpy()
    if not np.isfinite(content).all():
        raise ValueError("a content embedding holds a value that is no number")
    states = frame.filter(pl.col("state") != "active").select("item", "state")
    if not states["state"].is_in(["blocked", "deleted"]).all():
        raise ValueError("a state is neither active, blocked nor deleted")
    receipts = json.loads(about.get("receipts", "{}"))
    return Changes(
        tuple(added["item"]),
        tuple(added["title"]),
        tuple(added["text"]),
        codes,
        content.reshape(len(added), -1) if len(added) else content.reshape(0, 0),
        dict(states.iter_rows()),
        generation,
        about.get("lineage") or fingerprint(data),  # earlier versions wrote none
        _words(frame),
        {
            str(key): Receipt(str(r), int(g), int(a), int(c))
            for key, (r, g, a, c) in receipts.items()
        },
        _texts_or_empty(added, "domain"),
        _texts_or_empty(added, "image"),
    )


def _texts_or_empty(frame: pl.DataFrame, name: str) -> tuple[str, ...]:
    """A column that is written only where a row has something in it."""
    return tuple(frame[name].fill_null("")) if name in frame.columns else ("",) * len(frame)


def _words(frame: pl.DataFrame) -> dict[str, Words]:
    """Edited titles, texts and images; earlier versions wrote none, or no images."""
    if "shown_title" not in frame.columns:
        return {}
    edited = frame.filter(pl.col("shown_title").is_not_null())
    for name in ("shown_title", "shown_text"):
        if frame.schema[name] != pl.String or edited[name].null_count():
            raise ValueError(f"the column {name} holds {frame.schema[name]} or gaps, not texts")
    images = _texts_or_empty(edited, "shown_image")
    rows = edited.select("item", "shown_title", "shown_text").iter_rows()
    return {
        item: Words(title, text, image)
        for (item, title, text), image in zip(rows, images, strict=True)
    }


def write_changes(folder: Path, run: str, changes: Changes) -> None:
    """Replace the file; the caller holds the lock.

    Raises:
        RunError: it cannot be written, as on a full disk; the file before is still there.
    """
    known = set(changes.item_ids)
    outside = [item for item in changes.states | changes.words if item not in known]
    n, levels = changes.codes.shape
    empty = [None] * len(outside)
    rows = [*changes.item_ids, *outside]
    columns: dict[str, pl.Series] = {
        "item": pl.Series(rows, dtype=pl.String),
        "title": pl.Series([*changes.titles, *empty], dtype=pl.String),
        "text": pl.Series([*changes.texts, *empty], dtype=pl.String),
        "state": pl.Series([changes.states.get(i, "active") for i in rows], dtype=pl.String),
    }
    if changes.words:
        words = [changes.words.get(i, (None,) * 3) for i in rows]
        for place, name in enumerate(("shown_title", "shown_text", "shown_image")):
            columns[name] = pl.Series([pair[place] for pair in words], dtype=pl.String)
    if any(changes.domains):
        columns["domain"] = pl.Series([*changes.domains, *empty], dtype=pl.String)
    if any(changes.images):
        columns["image"] = pl.Series([*changes.images, *empty], dtype=pl.String)
    for level in range(levels):
        codes = [*changes.codes[:, level].tolist(), *empty]
        columns[f"level_{level + 1}"] = pl.Series(codes, dtype=pl.Int32)
    lists = pl.List(pl.Float32)
    content = pl.Series(changes.content).cast(lists) if n else pl.Series([], dtype=lists)
    columns["content"] = content.extend_constant(None, len(outside))
    about = {"run": run, "generation": str(changes.generation), "lineage": changes.lineage}
    if changes.receipts:
        latest = list(changes.receipts.items())[-_RECEIPTS:]
        about["receipts"] = json.dumps(dict(latest))
    path = Layout(folder).catalogue
    try:
        with atomic_path(path) as temporary:
            pl.DataFrame(columns).write_parquet(temporary, metadata=about)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"{path} could not be written ({reason}); the catalogue is as it was: "
            f"{_hint(error)}, then try again"
        ) from None


def _hint(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "check the folder's owner"
    if isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError):
        return "move away what is in the file's place"
    return "make room or check the folder's owner"
