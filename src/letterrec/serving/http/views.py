"""What the server shows of a run besides recommendations: items, the run itself, its metrics."""

from __future__ import annotations

from collections import Counter
from itertools import compress

import numpy as np

from letterrec.data.splits import SPLITS
from letterrec.errors import NotFound, RunError
from letterrec.identifiers.diagnostics import code_counts, entropy
from letterrec.runs.origin import VERSION
from letterrec.runs.run import Run
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.catalogue.states import STATES
from letterrec.serving.engine import Engine
from letterrec.serving.fleet import Version
from letterrec.serving.http import schemas as s


def name(catalogue: Catalogue, row: int) -> dict[str, object]:
    """Item id, title, identifier and image of a row."""
    return {
        "item": catalogue.item_ids[row],
        "title": catalogue.titles[row],
        "identifier": catalogue.spelled(row),
        "image": catalogue.images[row],
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
            for other, leading, shared in catalogue.directory.neighbours(row, neighbours)
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
    active = Counter(compress(catalogue.domains, (catalogue.states == 0).tolist()))
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
        letterrec=VERSION,
        metrics=metrics,
        behaviours=list(engine.dataset.behaviours),
        targets=[engine.dataset.behaviours[t] for t in engine.dataset.targets],
        reads_behaviours=engine.model.reads_behaviours,
        domains=[s.Domain(name=name, items=active[name]) for name in catalogue.domain_names],
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


def evaluation(engine: Engine) -> s.Evaluation:
    """What the run's evaluation gave, by split.

    Raises:
        NotFound: it was not evaluated.
    """
    run = Run.open(engine.folder)
    try:
        found = run.metrics()
    except RunError as error:
        raise NotFound(f"the run has no metrics: {error}") from None
    return s.Evaluation(
        splits=[
            s.SplitMetrics(
                split=split,
                users=found[split]["users"],
                metrics=found[split]["metrics"],
                standard_errors=found[split].get("standard_errors", {}),
                popularity=found["popularity"][split],
            )
            for split in reversed(SPLITS)
        ],
        has_report=run.files.report.is_file(),
    )


def report(engine: Engine) -> bytes:
    """The run's report, as HTML.

    Raises:
        NotFound: none was written.
    """
    path = engine.files.report
    try:
        return path.read_bytes()
    except OSError:
        raise NotFound(
            f"the run has no report; write it with: letterrec report {path.parent}"
        ) from None
