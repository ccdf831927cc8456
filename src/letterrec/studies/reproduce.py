"""The paper's tables, made anew: our figures beside the paper's, and how far they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from letterrec.config.loading import load_settings
from letterrec.data import Dataset, find_sources, read
from letterrec.data.splits import SPLITS
from letterrec.decoding.ranker import EventRanker
from letterrec.errors import SettingsError
from letterrec.evaluation.cases import measured_cases
from letterrec.evaluation.metrics import Ranks, ndcg, recall, summarise
from letterrec.evaluation.protocol import evaluate_split, popularity_ranks
from letterrec.evaluation.significance import paired_bootstrap
from letterrec.files import write_json
from letterrec.identifiers.diagnostics import overlaps, random_overlap_any
from letterrec.progress import say
from letterrec.runs.run import Run
from letterrec.studies import TableName
from letterrec.studies.quantized import PROBE, at_scale_of, linear_probe, over_rotations
from letterrec.studies.rows import ROWS, TABLES, PaperTable, rows_for, settings_of
from letterrec.studies.runs import finished_run, seconds_of
from letterrec.tokenizers import Items
from letterrec.training.devices import device

_COMPARED = ("recall@10", "ndcg@10")


@dataclass(frozen=True)
class SeedResult:
    """A row with one seed: its figures, and the ranks of the test targets where it has any."""

    figures: Mapping[str, float]
    ranks: Ranks | None = None
    valid: Mapping[str, float] | None = None
    seconds: float = 0.0


Runs = Mapping[str, Run]  # row -> its run with one seed; popularity has none


def reproduce(
    name: TableName,
    data: str,
    out: Path,
    *,
    seeds: int = 3,
    recommender: str = "rqt",
    overrides: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Make one of the paper's tables for each data set, reading runs that are finished.

    Args:
        name: of the table.
        data: a data source, or a folder of them.
        out: where the runs go, and ``DATA/TABLE-RECOMMENDER.json`` with what is returned.
        seeds: runs per row, with seeds 0, 1, ...
        recommender: of the rows that do not name their own.
        overrides: ``section.key=value`` for all rows.

    Returns:
        Per data set ``table``, ``title``, ``data``, ``recommender``, ``overrides``, ``seeds``,
        ``made`` (commit, machine, date); ``rows``: each with ``row``, ``label``, ``paper_row``,
        ``paper``, ``mean``, ``spread`` (standard deviation over seeds, None for one), ``by_seed``,
        ``valid`` and ``seconds`` of a run; ``unavailable``: rows that the data or the machine do
        not allow, each with ``row``, ``label``, ``paper_row``, ``paper`` and the ``reason``;
        ``differences``: each with ``row``, ``against``,
        ``metric`` and what `significance.Difference` has.

    Raises:
        DataError: there are no data.
        SettingsError: an override does not go with the table.
    """
    sources = find_sources(data)
    check_overrides(name, recommender, overrides)
    results = []
    for data_name, source in sources.items():
        folder = out / data_name
        result = _table_of(name, data_name, source, folder, seeds, recommender, list(overrides))
        write_json(folder / f"{name}-{recommender}.json", result)
        results.append(result)
    return results


def check_overrides(name: TableName, recommender: str, overrides: Sequence[str]) -> None:
    """Refuse, before anything is trained, settings under which the table would mean nothing."""
    settings = load_settings(recommender, list(overrides))
    if settings.data.cold_share > 0:
        raise SettingsError("tables are made with all items; leave data.cold_share at 0")
    if settings.identifiers.source != "learned":
        raise SettingsError(
            "the rows differ by how identifiers are learned; leave identifiers.source at 'learned' "
            "(identifiers that came with the data have a row of their own)"
        )
    if name == "table3" and settings.collaborative.source != "train":
        raise SettingsError(
            "table3 puts embeddings into the SASRec that they were learned beside; leave "
            "collaborative.source at 'train' (and use an --out of its own)"
        )
    for row_name in TABLES[name].rows:
        settings_of(ROWS[row_name], recommender, 0, overrides)


def _table_of(
    name: TableName,
    data_name: str,
    source: str,
    folder: Path,
    seeds: int,
    recommender: str,
    overrides: list[str],
) -> dict[str, Any]:
    table = TABLES[name]
    dataset = read(source, **load_settings(recommender, overrides).data.reading())
    rows = rows_for(table, dataset)
    measured: dict[str, list[SeedResult]] = {row: [] for row in rows}
    last: Run | None = None
    for seed in range(seeds):
        runs: dict[str, Run] = {}
        for i, row_name in enumerate(rows, start=1):
            row = ROWS[row_name]
            say(f"{data_name}, seed {seed}, row {i} of {len(rows)}: {row.label}")
            if row.model == "popularity":
                continue
            runs[row_name] = last = finished_run(
                source,
                folder / (row.recommender or recommender) / row_name / f"seed-{seed}",
                settings_of(row, recommender, seed, overrides),
                model=row.model,
                until=table.until,
                shelf=folder,
            )
            last.check_data(dataset)
        for row_name in rows:
            measured[row_name].append(_MEASURES[name](row_name, runs, dataset))
    return {
        "table": name,
        "title": table.title,
        "data": data_name,
        "items_have_text": dataset.texts is not None,
        "recommender": recommender,
        "overrides": overrides,
        "seeds": seeds,
        "made": _circumstances(last),
        "rows": [{**_names(row, table, data_name), **_summary(row, measured[row])} for row in rows],
        "unavailable": [
            {**_names(row, table, data_name), "reason": reason}
            for row in table.rows
            if (reason := ROWS[row].unavailable(dataset)) is not None
        ],
        "differences": [
            _difference(ours, theirs, metric, measured)
            for ours, theirs in table.differences
            if ours in measured and theirs in measured
            for metric in _COMPARED
        ],
    }


def _ranked(row_name: str, runs: Runs, dataset: Dataset) -> SeedResult:
    """Tables 1 and 2: what a recommender ranks."""
    if ROWS[row_name].model == "popularity":
        sizes = (run.settings.evaluation.test_users for run in runs.values())
        users = next(sizes, None)
        before, test = (
            popularity_ranks(dataset, measured_cases(dataset, split, users)) for split in SPLITS
        )
        return SeedResult(summarise(test), test, summarise(before))
    run = runs[row_name]
    ranks = run.ranks("test")
    valid = run.metrics()["valid"]["metrics"]
    return SeedResult(summarise(ranks), ranks, valid, seconds_of(run))


def _quantized_in_sasrec(row_name: str, runs: Runs, dataset: Dataset) -> SeedResult:
    """Table 3: SASRec ranks with the row's quantized embeddings for its own."""
    run = runs[row_name]
    model = runs["host"].sasrec(dataset)
    model.to(device())
    ranker = EventRanker(model, device(), n_behaviours=dataset.n_behaviours)
    of_basis: dict[str, float] = {}
    if ROWS[row_name].model == "generative":
        own, cf = model.item_embeddings(), run.embeddings("collaborative", dataset.n_items)
        content = run.embeddings("content", dataset.n_items)
        read_by_encoder = content if content is not None else cf
        assert read_by_encoder is not None
        found = run.tokenizer().quantized(Items(read_by_encoder, cf))
        assert found is not None  # the rows of table 3 have codebooks
        quantized = at_scale_of(found, own)

        def recall(embeddings: NDArray[np.float32]) -> float:
            model.use_item_embeddings(embeddings)
            return evaluate_split(ranker, dataset, "test").metrics["metrics"]["recall@10"]

        of_basis = over_rotations(quantized, recall)
        if cf is not None:
            of_basis[PROBE] = linear_probe(quantized, cf)
        model.use_item_embeddings(quantized)
    valid, test = (evaluate_split(ranker, dataset, split) for split in SPLITS)
    figures = test.metrics["metrics"] | of_basis
    return SeedResult(figures, test.ranks, valid.metrics["metrics"], seconds_of(run))


def _overlap(row_name: str, runs: Runs, dataset: Dataset) -> SeedResult:
    """Table 4, for all rows on the same CF embeddings: those of the first row's run, and those
    that came with the data."""
    run = runs[row_name]
    identifiers = run.identifiers(dataset)
    cf = next(iter(runs.values())).embeddings("collaborative", dataset.n_items)
    assert cf is not None
    codes = identifiers.codes
    equal, any_equal = overlaps(codes, cf)
    figures = {
        "cf_overlap_any": any_equal,
        "cf_overlap": equal,
        "random_overlap_any": random_overlap_any(codes),
        "level-1 codes in use": len(np.unique(codes[:, 0])) / identifiers.sizes[0],
    }
    if dataset.given_cf is not None:
        equal, any_equal = overlaps(codes, dataset.given_cf)
        figures["cf_overlap_any (given CF)"] = any_equal
        figures["cf_overlap (given CF)"] = equal
    return SeedResult(figures, seconds=seconds_of(run))


_MEASURES: Mapping[TableName, Callable[[str, Runs, Dataset], SeedResult]] = {
    "table1": _ranked,
    "table2": _ranked,
    "table3": _quantized_in_sasrec,
    "table4": _overlap,
}


def _names(row_name: str, table: PaperTable, data_name: str) -> dict[str, Any]:
    """What a row is called, here and in the paper, and the paper's figures for it."""
    paper_row = table.rows[row_name]
    return {
        "row": row_name,
        "label": ROWS[row_name].label,
        "paper_row": paper_row,
        "paper": table.paper.get(paper_row, {}).get(data_name),
    }


def _summary(row_name: str, by_seed: list[SeedResult]) -> dict[str, Any]:
    """The figures of a row over its seeds."""
    figures = [m.figures for m in by_seed]
    has_seeds = ROWS[row_name].model != "popularity" and len(by_seed) > 1
    valid = [m.valid for m in by_seed if m.valid is not None]
    return {
        "mean": _over_seeds(figures, np.mean),
        "spread": _over_seeds(figures, _deviation) if has_seeds else None,
        "by_seed": [dict(f) for f in figures],
        "valid": _over_seeds(valid, np.mean) if valid else None,
        "seconds": float(np.mean([m.seconds for m in by_seed])),
    }


def _over_seeds(
    figures: Sequence[Mapping[str, float]], reduce: Callable[[list[float]], Any]
) -> dict[str, float]:
    return {name: float(reduce([f[name] for f in figures])) for name in figures[0]}


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1))


def _difference(
    ours: str, theirs: str, metric: str, measured: Mapping[str, list[SeedResult]]
) -> dict[str, Any]:
    sides = [np.stack([_by_user(m, metric) for m in measured[row]]) for row in (ours, theirs)]
    found = asdict(paired_bootstrap(*sides))
    base = float(sides[1].mean()) if sides[1].size else 0.0
    relative = found["mean"] / base if base > 0 else None
    return {"row": ours, "against": theirs, "metric": metric, **found, "relative": relative}


def _by_user(measured: SeedResult, metric: str) -> NDArray[np.float64]:
    assert measured.ranks is not None
    name, _, cut = metric.partition("@")
    return {"recall": recall, "ndcg": ndcg}[name](measured.ranks, int(cut))


def _circumstances(run: Run | None) -> dict[str, Any]:
    """Where the last of the runs was made."""
    if run is None:
        return {}
    about = run.about
    return {"commit": about["commit"], "machine": about["machine"], "started": about["started"]}
