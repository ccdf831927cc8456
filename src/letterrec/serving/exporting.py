"""What other tools read of a run: its model as a folder of Hugging Face, or embeddings with ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from letterrec.errors import RequestError
from letterrec.files import atomic_path, write_json
from letterrec.nn.sasrec import SASRec
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine
from letterrec.training.devices import device

_AT_ONCE = 1024  # users whose histories are read together
Vectors = NDArray[np.float32]


def export(engine: Engine, folder: Path, *, embeddings: bool = False) -> None:
    """Write the merged language model of a run, or its T5, with the tokens of its items; or the
    embeddings of its items and users. See `letterrec.api.export`.

    Raises:
        RequestError: the run has none of them, or the folder is in use.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(f"{folder} is not an empty folder; name another --out")
    if embeddings:
        write_embeddings(engine, Run.open(engine.folder), folder)
        return
    engine.model.export(folder)
    identifiers, item_ids = engine.identifiers, engine.catalogue.item_ids
    index = {item: identifiers.token_names(row) for row, item in enumerate(item_ids)}
    write_json(folder / "index.json", index)


def write_embeddings(engine: Engine, run: Run, folder: Path) -> list[Path]:
    """Write the embeddings of items and users, a Parquet file for each kind.

    ``items.content.parquet`` and ``items.collaborative.parquet`` have the columns ``item`` and
    ``embedding`` (list of float32); ``users.content.parquet`` and ``users.collaborative.parquet``
    have ``user`` and ``embedding``. A user's content embedding is the mean of those of his latest
    items. His CF embedding is the state of the run's SASRec after them, whose product with an
    item's is its score for that item; where CF embeddings came from outside, the mean too.

    Args:
        engine: of the run, with the items that were added since training.
        run: the same.
        folder: where the files go.

    Returns:
        What was written.

    Raises:
        RequestError: the run has no embeddings.
    """
    written: list[Path] = []

    def write(kind: str, name: str, ids: Sequence[str], vectors: Vectors) -> None:
        table = {kind: pl.Series(ids, dtype=pl.String), "embedding": vectors.astype(np.float32)}
        frame = pl.DataFrame(table).with_columns(pl.col("embedding").arr.to_list())
        path = folder / f"{kind}s.{name}.parquet"
        with atomic_path(path) as temporary:
            frame.write_parquet(temporary)
        written.append(path)

    dataset, catalogue = engine.dataset, engine.catalogue
    content, cf = engine.content, run.embeddings("collaborative", dataset.n_items)
    if content is None and cf is None:
        raise RequestError(
            f"{run.folder} has no embeddings: its recommender {run.settings.recommender.name!r} "
            "makes none; export those of a run with a tokenizer"
        )
    if content is not None:
        added = catalogue.added_content
        every = np.concatenate([content, added]) if len(added) else content
        rows = np.flatnonzero(catalogue.is_present)
        write("item", "content", [catalogue.item_ids[i] for i in rows], every[rows])
        write("user", "content", dataset.user_ids, _means(engine, content))
    if cf is not None:
        write("item", "collaborative", dataset.item_ids, cf)
        trained = run.sasrec(dataset) if run.files.sasrec.exists() else None
        states = _means(engine, cf) if trained is None else _states(engine, trained)
        write("user", "collaborative", dataset.user_ids, states)
    return written


def _means(engine: Engine, items: Vectors) -> Vectors:
    """float32 ``(n_users, d)``: the mean of the vectors of each user's latest items."""
    histories = engine.dataset.interactions.latest(engine.settings.data.max_history)
    return np.stack([items[history].mean(0) for history in histories])


@torch.no_grad()
def _states(engine: Engine, model: SASRec) -> Vectors:
    """float32 ``(n_users, d)``: the state of a SASRec after each user's latest items."""
    model = model.to(device()).eval()
    histories = engine.dataset.interactions
    parts = []
    for start in range(0, len(histories), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(histories)))
        events = histories.take(rows).events(model.n_behaviours)
        read = torch.from_numpy(events.padded(engine.settings.data.max_history)).to(device())
        parts.append(model.latest(read).float().cpu().numpy())
    return np.concatenate(parts)
