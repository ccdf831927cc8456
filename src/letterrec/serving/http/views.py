"""What the server shows of a run besides recommendations: items, the run itself, maps."""

from __future__ import annotations

import json
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from numpy.typing import NDArray

import letterrec
from letterrec.embeddings.projection import Axes, principal_axes, principal_components, sample
from letterrec.errors import NotFound, RunError
from letterrec.identifiers.diagnostics import code_counts, entropy
from letterrec.runs.run import Run
from letterrec.serving.catalogue.items import STATES, Catalogue
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Version
from letterrec.serving.http import schemas as s
from letterrec.tokenizers import load_tokenizer

_FITTED = 20_000  # embeddings from which the principal axes are computed
_AXES: WeakKeyDictionary[Engine, Axes] = WeakKeyDictionary()


def name(catalogue: Catalogue, row: int) -> dict[str, object]:
    """Item id, title and identifier of a row."""
    return {
        "item": catalogue.item_ids[row],
        "title": catalogue.titles[row],
        "identifier": catalogue.spelled(row),
    }


def text(engine: Engine, catalogue: Catalogue, row: int) -> str | None:
    """The text of an item; None where the run has none."""
    if row in catalogue.edited:
        return catalogue.edited[row].text
    if row >= catalogue.n_trained:
        return catalogue.added_texts[row - catalogue.n_trained]
    texts = engine.dataset.texts
    return None if texts is None else texts[row]


def item(
    version: Version, engine: Engine, catalogue: Catalogue, item_id: str, neighbours: int
) -> s.Item:
    """An item with its neighbours in code space.

    Raises:
        NotFound: it is not in the catalogue, or deleted.
    """
    row = catalogue.row(item_id)
    codes = catalogue.identifiers.codes[row]
    return s.Item(
        **version._asdict(),
        **name(catalogue, row),
        text=text(engine, catalogue, row),
        state=STATES[catalogue.states[row]],
        codes=[int(c) for c in codes if c >= 0],
        added=row >= catalogue.n_trained,
        domain=catalogue.domains[row],
        interactions=int(catalogue.popularity[row]),
        neighbours=[
            s.Neighbour(**name(catalogue, other), leading=leading, shared=shared)
            for other, leading, shared in catalogue.neighbours(row, neighbours)
        ],
    )


def listed(engine: Engine, catalogue: Catalogue, row: int) -> s.ListedItem:
    """An item as a list has it."""
    return s.ListedItem(
        **name(catalogue, row),
        text=text(engine, catalogue, row),
        state=STATES[catalogue.states[row]],
        added=row >= catalogue.n_trained,
        interactions=int(catalogue.popularity[row]),
    )


def run_info(version: Version, engine: Engine, catalogue: Catalogue) -> s.RunInfo:
    """What is served."""
    run, settings = Run.open(engine.folder), engine.settings
    try:
        metrics = run.metrics()["test"]["metrics"]
    except RunError:
        metrics = None  # not evaluated yet
    popular = np.argsort(-catalogue.popularity, kind="stable")[:6]
    made = {"given": "given with the data", "titles": "titles"}
    tokenizer = made.get(settings.identifiers.source, settings.tokenizer.name)
    return s.RunInfo(
        **version._asdict(),
        name=engine.dataset.name,
        recommender=settings.recommender.name,
        tokenizer=tokenizer if catalogue.identifiers.n_levels else "none",
        encoder=None if engine.content is None else settings.content.maker,
        users=engine.dataset.n_users,
        items=catalogue.count("active"),
        blocked=catalogue.count("blocked"),
        deleted=catalogue.count("deleted"),
        added=catalogue.n_items - catalogue.n_trained,
        created=run.about["started"],
        letterrec=letterrec.__version__,
        metrics=metrics,
        behaviours=list(engine.dataset.behaviours),
        targets=[engine.dataset.behaviours[t] for t in engine.dataset.targets],
        domains=[
            s.Domain(name=name, items=int(catalogue.domain(name).flags.sum()))
            for name in catalogue.domain_names
        ],
        levels=[
            s.Level(
                size=len(counts),
                used=int((counts > 0).sum()),
                entropy=entropy(counts),
                counts=counts.tolist(),
            )
            for counts in code_counts(catalogue.present)
        ],
        follows_instructions=engine.model.follows_instructions,
        example_user=engine.dataset.user_ids[0],
        example_items=[s.ItemName(**name(catalogue, int(row))) for row in popular],
    )


def embedding_map(
    engine: Engine, catalogue: Catalogue, of: Literal["items", "codes"], level: int, points: int
) -> bytes:
    """Embeddings of items or codes on three principal components, as JSON of the shape `s.Map`.

    Raises:
        NotFound: the run has no such embeddings.
    """
    if not catalogue.identifiers.n_levels:
        raise NotFound("the run has no embeddings to show: a baseline ranks its items")
    first = catalogue.identifiers.codes[:, 0]
    if of == "codes":
        return _code_map(engine, catalogue, level)
    if engine.content is None:
        raise NotFound("the run has no content embeddings: its items have no text")
    rows = sample(catalogue.n_trained, points)
    axes = _axes(engine, engine.content)
    where = axes.coordinates(engine.content[rows])
    return _json(
        x=where[:, 0].tolist(),
        y=where[:, 1].tolist(),
        z=where[:, 2].tolist(),
        label=[catalogue.titles[r] for r in rows],
        code=first[rows].tolist(),
        size=catalogue.popularity[rows].tolist(),
        explained=axes.shares,
        total=catalogue.n_trained,
    )


def _axes(engine: Engine, content: NDArray[np.float32]) -> Axes:
    """Principal axes of the content embeddings, computed once per engine."""
    axes = _AXES.get(engine)
    if axes is None:
        axes = _AXES[engine] = principal_axes(content[sample(len(content), _FITTED)])
    return axes


def _code_map(engine: Engine, catalogue: Catalogue, level: int) -> bytes:
    if level > catalogue.identifiers.n_levels:
        raise NotFound(f"level {level} of {catalogue.identifiers.n_levels}: there is none")
    folder = engine.files.tokenizer
    codebooks = load_tokenizer(folder).codebooks if folder.is_dir() else None
    if codebooks is None:
        raise NotFound("the run has no code embeddings: no network learned its identifiers")
    codebook = codebooks[level - 1]  # (codes, d)
    counts = code_counts(catalogue.present)[level - 1]
    where, explained = principal_components(codebook)
    titles = most_popular_titles(catalogue, level)
    return _json(
        x=where[:, 0].tolist(),
        y=where[:, 1].tolist(),
        z=where[:, 2].tolist(),
        label=[titles.get(code, "not used") for code in range(len(codebook))],
        code=list(range(len(codebook))),
        size=counts.tolist(),
        explained=explained,
        total=len(codebook),
    )


def _json(**columns: object) -> bytes:
    """A `s.Map` as JSON, a column per call: one long call would block other threads."""
    pairs = (f"{json.dumps(key)}:{json.dumps(value)}" for key, value in columns.items())
    return ("{" + ",".join(pairs) + "}").encode()


def most_popular_titles(catalogue: Catalogue, level: int, n: int = 3) -> dict[int, str]:
    """Code -> titles of its ``n`` most popular items at a level (from 1), as one line."""
    rows = np.flatnonzero(catalogue.is_present)
    frame = pl.DataFrame(
        {
            "code": catalogue.identifiers.codes[rows, level - 1],
            "title": [catalogue.titles[row] for row in rows],
            "popularity": catalogue.popularity[rows],
        }
    )
    lines = (
        frame.sort("popularity", descending=True)
        .group_by("code", maintain_order=True)
        .agg(pl.col("title").head(n))
    )
    return {code: " · ".join(titles) for code, titles in lines.iter_rows()}
