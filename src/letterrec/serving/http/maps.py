"""Maps of a run's embeddings, and where single items are on them, added ones too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from letterrec.embeddings.projection import (
    Axes,
    neighbourhoods,
    principal_axes,
    principal_components,
    sample,
)
from letterrec.errors import NotFound
from letterrec.identifiers.diagnostics import code_counts
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.states import STATES
from letterrec.serving.catalogue.tree import most_popular_titles
from letterrec.serving.colour_groups import colour_groups
from letterrec.serving.engine import Engine
from letterrec.serving.http import schemas as s
from letterrec.serving.http.views import name
from letterrec.tokenizers import load_tokenizer

Method = Literal["pca", "tsne"]

_FITTED = 20_000  # embeddings from which the principal axes are computed
_IN_PLANE = 2_000  # items of a map by t-SNE, at most
_NEAREST = 3  # items of such a map between which another one is placed


@dataclass
class _Drawn:
    """What is computed once for an engine: its content and its codebooks never change.

    Attributes:
        axes: principal axes of the content; None until they are needed.
        plane: rows and float32 ``(n, 2)`` places of the items on a map by t-SNE; None likewise.
        axes_lock: held while the axes are computed.
        plane_lock: held while the plane is, which takes seconds: what needs the axes alone does not
            wait for it.
        codes: by level and method, the places of the codes and their shares of the variance.
    """

    axes: Axes | None = None
    plane: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
    axes_lock: threading.Lock = field(default_factory=threading.Lock)
    plane_lock: threading.Lock = field(default_factory=threading.Lock)
    codes: dict[tuple[int, Method], tuple[NDArray[np.float32], list[float]]] = field(
        default_factory=dict
    )


_DRAWN: WeakKeyDictionary[Engine, _Drawn] = WeakKeyDictionary()


def embedding_map(
    engine: Engine,
    catalogue: Catalogue,
    of: Literal["items", "codes"],
    level: int,
    points: int,
    method: Method,
) -> bytes:
    """Embeddings of items or codes in space or in a plane, as JSON of the shape `s.Map`.

    Raises:
        NotFound: the run has no such embeddings.
    """
    if of == "codes":
        return _code_map(engine, catalogue, level, method)
    content = _content(engine, catalogue)
    if method == "tsne":
        rows, where = _plane(engine, content)
        rows, where, shares = rows[:points], where[:points], []
    else:
        rows, axes = sample(catalogue.n_trained, points), _axes(engine, content)
        where, shares = axes.coordinates(content[rows]), axes.shares
    return _json(
        **_columns(where),
        item=[catalogue.item_ids[r] for r in rows],
        label=[catalogue.titles[r] for r in rows],
        code=catalogue.identifiers.codes[rows, 0].tolist(),
        size=catalogue.popularity[rows].tolist(),
        explained=shares,
        total=catalogue.n_trained,
        colours=[asdict(groups) for groups in colour_groups(engine, catalogue, rows)],
    )


def places(
    engine: Engine, catalogue: Catalogue, items: Iterable[str], method: Method, added: int
) -> s.Places:
    """Where items are on the map of items; ids that the catalogue does not have are left out.

    A map by t-SNE has no place for items that it was not made of: those stand between the
    `_NEAREST` that are most like them.

    Args:
        engine: has the content.
        catalogue: has the items.
        items: their ids.
        method: of the map.
        added: besides, the latest items added after training, at most so many.

    Raises:
        NotFound: the run has no content embeddings.
    """
    content = _content(engine, catalogue)
    n = catalogue.n_trained
    active = n + np.flatnonzero(catalogue.states[n:] == STATES.index("active"))
    latest = active[::-1][:added].tolist()
    known = [catalogue.rows[item] for item in items if item in catalogue.rows]
    rows = np.array(list(dict.fromkeys([*known, *latest])), dtype=np.int64)
    old = rows < n
    vectors = np.empty((len(rows), content.shape[1]), dtype=np.float32)
    vectors[old] = content[rows[old]]
    if not old.all():  # nothing was added to most catalogues, and their content has no width
        vectors[~old] = catalogue.added_content[rows[~old] - n]
    if method == "tsne":
        where = _between(vectors, content, *_plane(engine, content))
    else:
        where = _axes(engine, content).coordinates(vectors)
    return s.Places(
        items=[
            s.Place(
                **name(catalogue, row),
                x=float(at[0]),
                y=float(at[1]),
                z=float(at[2]) if len(at) > 2 else 0.0,
                added=row >= n,
            )
            for row, at in zip(rows.tolist(), where, strict=True)
        ]
    )


def _content(engine: Engine, catalogue: Catalogue) -> NDArray[np.float32]:
    if not catalogue.identifiers.n_levels:
        raise NotFound("the run has no embeddings to show: a baseline ranks its items")
    if engine.content is None:
        raise NotFound("the run has no content embeddings: its items have no text")
    return engine.content


def _axes(engine: Engine, content: NDArray[np.float32]) -> Axes:
    """Principal axes of the content embeddings."""
    drawn = _DRAWN.setdefault(engine, _Drawn())
    with drawn.axes_lock:
        if drawn.axes is None:
            drawn.axes = principal_axes(content[sample(len(content), _FITTED)])
        return drawn.axes


def _plane(
    engine: Engine, content: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of a sample of the items, and their places by t-SNE."""
    drawn = _DRAWN.setdefault(engine, _Drawn())
    with drawn.plane_lock:
        if drawn.plane is None:
            rows = sample(len(content), _IN_PLANE)
            drawn.plane = rows, neighbourhoods(content[rows])
        return drawn.plane


def _between(
    vectors: NDArray[np.float32],
    content: NDArray[np.float32],
    rows: NDArray[np.int64],
    where: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Places of vectors between the items of a map that are most like them, by cosine."""
    shown = content[rows]
    norms = np.linalg.norm(shown, axis=1).clip(1e-12)
    likeness = vectors @ shown.T / norms  # (n, shown), each row times the length of its vector
    likeness /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :_NEAREST]
    close = np.take_along_axis(likeness, nearest, axis=1)
    weights = 1 / (1.0001 - close.clip(max=1))  # an item of the map itself takes its own place
    weights /= weights.sum(1, keepdims=True)
    return np.asarray((weights[:, :, None] * where[nearest]).sum(1), dtype=np.float32)


def _code_map(engine: Engine, catalogue: Catalogue, level: int, method: Method) -> bytes:
    n_levels = catalogue.identifiers.n_levels
    if not n_levels:
        raise NotFound("the run has no embeddings to show: a baseline ranks its items")
    if level > n_levels:
        raise NotFound(f"level {level} of {n_levels}: there is none")
    where, explained = _code_places(engine, level, method)
    titles = most_popular_titles(catalogue, level)
    return _json(
        **_columns(where),
        item=[],
        label=[titles.get(code, "not used") for code in range(len(where))],
        code=list(range(len(where))),
        size=code_counts(catalogue.present)[level - 1].tolist(),
        explained=explained,
        total=len(where),
        colours=[],
    )


def _code_places(
    engine: Engine, level: int, method: Method
) -> tuple[NDArray[np.float32], list[float]]:
    """Places of a level's codes, float32 ``(codes, 2 or 3)``, and shares of the variance."""
    drawn = _DRAWN.setdefault(engine, _Drawn())
    found = drawn.codes.get((level, method))
    if found is None:
        folder = engine.files.tokenizer
        codebooks = load_tokenizer(folder).codebooks if folder.is_dir() else None
        if codebooks is None:
            raise NotFound("the run has no code embeddings: no network learned its identifiers")
        codebook = codebooks[level - 1]  # (codes, d)
        is_flat = method == "tsne"
        found = (neighbourhoods(codebook), []) if is_flat else principal_components(codebook)
        drawn.codes[level, method] = found
    return found


def _columns(where: NDArray[np.float32]) -> dict[str, list[float]]:
    """The coordinates float32 ``(n, 2 or 3)`` by name; of a plane the third has no entries."""
    third = where[:, 2].tolist() if where.shape[1] > 2 else []
    return {"x": where[:, 0].tolist(), "y": where[:, 1].tolist(), "z": third}


def _json(**columns: object) -> bytes:
    """A `s.Map` as JSON, a column per call: one long call would block other threads."""
    pairs = (f"{json.dumps(key)}:{json.dumps(value)}" for key, value in columns.items())
    return ("{" + ",".join(pairs) + "}").encode()
