"""LETTER's layout: prepared sequences in ``NAME.inter.json`` and what may lie beside them.

Row ``i`` of its CF embeddings belongs to the ``i``-th item id in the order of `sorted_ids`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset
from letterrec.data.ids import checked_id, sorted_ids
from letterrec.data.readers.base import Reader, ReadOptions, files_of
from letterrec.data.readers.jsonlines import why_no_json
from letterrec.data.readers.k_core import filter_k_core, note_short
from letterrec.data.readers.side_tables import (
    attributes_of,
    categories_of,
    check_match,
    counted,
    images_of,
    look_up_in,
    preferences_of,
    titles_and_texts,
)
from letterrec.data.sequences import Histories
from letterrec.data.text import ItemText, item_text
from letterrec.errors import DataError

T = TypeVar("T")
_TOKEN = re.compile(r"<[a-z]\d*_\d+>")


def read(source: Path, options: ReadOptions) -> Dataset:
    """Read a folder in LETTER's layout, or one NAME.inter.json and what lies beside it; without
    ``k_core`` nothing is filtered. The sequences are in the order of time as they are.

    The catalogue, to whose rows the CF embeddings are matched, is every item of the interactions,
    ``NAME.item.json`` and ``NAME.index.json``; items without interactions are dropped after that.

    Raises:
        DataError: a file is no JSON of the expected form; the files disagree about the items.
    """
    folder = source if source.is_dir() else source.parent
    name = _name_in(source, options)
    path, item_path, index_path, user_path = (
        folder / f"{name}.{kind}.json" for kind in ("inter", "item", "index", "user")
    )
    notes: list[str] = []
    sequences = _sequences(path, notes)
    items = _by_id(item_path, _read_object(item_path), "item", notes)
    index = _by_id(index_path, _read_object(index_path), "item", notes)
    said = _by_id(user_path, _preferences(user_path), "user", notes)

    touched = {i for s in sequences.values() for i in s}
    catalogue = sorted_ids(touched | items.keys() | index.keys())
    tokens = _tokens(index_path, index, catalogue) if index else None
    cf = _embeddings(folder, name, len(catalogue))

    user_ids = sorted_ids(u for u, s in sequences.items() if s)
    if len(user_ids) < len(sequences):
        notes.append(f"{counted(len(sequences) - len(user_ids), 'user')} without items: dropped")
    if not options.k_core and len(touched) < len(catalogue):
        n = len(catalogue) - len(touched)
        notes.append(f"{counted(n, 'catalogue item')} without interactions: dropped")
    interactions, kept_users, kept_items = _packed(
        [sequences[u] for u in user_ids], catalogue, options.k_core, path, notes
    )
    note_short(interactions, notes)

    item_ids = tuple(catalogue[i] for i in kept_items)
    found = look_up_in(item_path, lambda: ((i, partial(_text, v)) for i, v in items.items()))(
        set(item_ids)
    )
    check_match(found, item_ids, path, notes)
    titles, texts = titles_and_texts(item_ids, found.entries, notes)
    kept_ids = tuple(user_ids[u] for u in kept_users)
    likings = look_up_in(user_path, lambda: ((u, partial(said.get, u)) for u in said), "user")(
        set(kept_ids)
    )
    check_match(likings, kept_ids, path, notes, "user")
    if likings.others:
        notes.append(f"{counted(likings.others, 'user')} of {user_path.name} not kept: left out")
    return Dataset(
        name=name,
        user_ids=kept_ids,
        item_ids=item_ids,
        interactions=interactions,
        titles=titles,
        texts=texts,
        preferences=preferences_of(kept_ids, likings.entries),
        categories=categories_of(item_ids, found.entries),
        attributes=attributes_of(item_ids, found.entries),
        images=images_of(item_ids, found.entries),
        given_tokens=None if tokens is None else tuple(tokens[i] for i in kept_items),
        given_cf=None if cf is None else cf[kept_items],
        warnings=tuple(notes),
    )


def _name_in(source: Path, options: ReadOptions) -> str:
    """The name of the data set in a folder, or of the one that a file is of.

    Raises:
        DataError: there are several, or the options ask for what this layout has not.
    """
    folder = source if source.is_dir() else source.parent
    inters = [source] if source.is_file() else folder.iterdir()
    ending = ".inter.json"
    names = sorted(f.name.removesuffix(ending) for f in inters if f.name.endswith(ending))
    if len(names) > 1:
        raise DataError(
            f"{folder} holds {len(names)} data sets ({', '.join(names)}); expected one "
            "NAME.inter.json: give that file, or keep each in a folder of its own"
        )
    if options.min_rating is not None or options.columns:
        what = (
            "ratings: leave out data.min_rating"
            if options.min_rating is not None
            else ("columns: leave out --columns")
        )
        raise DataError(f"{folder} is in LETTER's layout, which has no {what}")
    return names[0]


def _packed(
    sequences: Sequence[Sequence[str]],
    catalogue: Sequence[str],
    k_core: int | None,
    path: Path,
    notes: list[str],
) -> tuple[Histories, NDArray[np.int64], NDArray[np.int64]]:
    """The sequences of users as rows of items, and int64 which users and which items of the
    catalogue are left: those of the k-core that have interactions.
    """
    rows = {i: row for row, i in enumerate(catalogue)}
    flat_users = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    flat_items = np.array([rows[i] for s in sequences for i in s], dtype=np.int64)
    if k_core:
        kept = filter_k_core(flat_users, flat_items, k_core, path, notes)
        flat_users, flat_items = flat_users[kept], flat_items[kept]
    kept_users, counts = np.unique(flat_users, return_counts=True)
    kept_items, item_rows = np.unique(flat_items, return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    packed = Histories(offsets, item_rows.reshape(-1).astype(np.int32))
    return packed, kept_users, kept_items


def _read_object(path: Path) -> dict[str, object]:
    """A JSON object; empty where there is no such file."""
    try:
        value = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=partial(_once, path))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}); convert it to UTF-8"
        ) from None
    except (RecursionError, ValueError) as error:
        why = error if isinstance(error, json.JSONDecodeError) else why_no_json(error)
        what = "is empty" if path.stat().st_size == 0 else f"is no JSON ({why})"
        raise DataError(f"{path} {what}; expected one object, {{...}}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds a {type(value).__name__}; expected an object, {{...}}")
    return value


def _once(path: Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object; refuse duplicate keys, of which Python would keep the last alone."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise DataError(f"{path} has the key {twice!r} twice in one object; expected each once")
    return value


def _by_id(path: Path, value: Mapping[str, T], noun: str, notes: list[str]) -> dict[str, T]:
    """The object with its keys replaced by the ids that they stand for (`as_id`)."""
    found: dict[str, T] = {}
    before: dict[str, str] = {}
    for key, entry in value.items():
        external = checked_id(key, path)
        if external is None:
            continue
        if external in found:
            raise DataError(
                f"{path}: {before[external]!r} and {key!r} are the same {noun}; expected each once"
            )
        found[external], before[external] = entry, key
    if len(found) < len(value):
        n = counted(len(value) - len(found), "key")
        notes.append(f"{n} of {path.name} without {noun}: dropped")
    if changed := [k for i, k in before.items() if i != k]:
        n = counted(len(changed), f"{noun} id")
        notes.append(f"{n} of {path.name} read as whole numbers or without spaces ({changed[0]!r})")
    return found


def _sequences(path: Path, notes: list[str]) -> dict[str, list[str]]:
    sequences: dict[str, list[str]] = {}
    changed = 0
    for user, items in _by_id(path, _read_object(path), "user", notes).items():
        if not isinstance(items, list):
            raise DataError(
                f"{path}: user {user!r} has {items!r}; expected a list of items in time order"
            )
        sequence, place = [], f"user {user!r}"
        for item in items:
            external = checked_id(item, path, place)
            if external is None:
                raise DataError(
                    f"{path}: user {user!r} has the item {item!r}; expected an integer or a text"
                )
            changed += not isinstance(item, int) and external != item
            sequence.append(external)
        sequences[user] = sequence
    if changed:
        n = counted(changed, "interaction")
        notes.append(f"{n} whose item was stored as a float or with spaces: read as the plain id")
    if not any(sequences.values()):
        raise DataError(f"{path} holds no interactions; expected {{user: [items in time order]}}")
    return sequences


def _text(fields: object) -> ItemText:
    """Of ``{title, ...}``; a plain text is the title."""
    if not isinstance(fields, Mapping):
        return item_text(fields)
    others = {k: v for k, v in fields.items() if k != "title"}
    return item_text(fields.get("title"), others)


def _preferences(path: Path) -> Mapping[str, object]:
    """User -> words or a list of them; the file is this object, or holds it in LC-Rec's form."""
    users = _read_object(path)
    explicit = users.get("user_explicit_preference", users)
    if not isinstance(explicit, Mapping):
        raise DataError(
            f"{path}: user_explicit_preference holds a {type(explicit).__name__}; expected "
            "{user: text or list of texts}"
        )
    return explicit


def _tokens(path: Path, index: Mapping[str, object], catalogue: list[str]) -> list[tuple[str, ...]]:
    """One token sequence per item of the catalogue."""
    found: dict[str, tuple[str, ...]] = {}
    for item, tokens in index.items():
        if not isinstance(tokens, list) or not tokens:
            raise DataError(f"{path}: item {item!r} has {tokens!r}; expected a list of tokens")
        for token in tokens:
            if not isinstance(token, str) or not _TOKEN.fullmatch(token):
                raise DataError(
                    f"{path}: item {item!r} has the token {token!r}; expected the form '<a_12>'"
                )
        found[item] = tuple(tokens)
    lacking = [i for i in catalogue if i not in index]
    if lacking:
        raise DataError(
            f"{path} has {counted(len(index), 'item')} but lacks {len(lacking)}, among them "
            f"{lacking[0]!r}; expected all {len(catalogue)}: add them or take the file away"
        )
    return [found[i] for i in catalogue]


def _embeddings(folder: Path, name: str, n_items: int) -> NDArray[np.float32] | None:
    """CF embeddings float32 ``(n_items, d)`` from ``NAME-*d-*.pt``, if there is one."""
    form = re.compile(rf"{re.escape(name)}-.*d-.*\.pt")
    paths = sorted(p for p in folder.iterdir() if form.fullmatch(p.name))
    if not paths:
        return None
    if len(paths) > 1:
        raise DataError(
            f"{folder} holds several CF embeddings ({', '.join(p.name for p in paths)}); keep one"
        )
    import torch

    path = paths[0]
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler stumbles over
        raise DataError(
            f"{path} cannot be loaded ({type(error).__name__}); expected one tensor, saved by "
            "torch.save and readable with weights_only=True"
        ) from None
    if not isinstance(value, torch.Tensor) or value.ndim != 2:
        what = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise DataError(f"{path} holds {what}; expected one tensor of shape (items, dimensions)")
    if len(value) != n_items:
        raise DataError(
            f"{path} has {len(value)} rows for {counted(n_items, 'item')}; expected row i to be "
            "the i-th item: export it without padding rows, or take the file away"
        )
    rows = value.detach().to_dense().float().numpy()
    if not np.isfinite(rows).all():
        raise DataError(f"{path} holds values that are not finite; export it again")
    return rows


def recognises(source: Path) -> bool:
    """Whether it is, or is a folder with, a ``NAME.inter.json``."""
    return any(f.name.endswith(".inter.json") for f in files_of(source))


READER = Reader("LETTER", recognises, read)
