"""What an engine shows of itself in a notebook: what it is, what it can be asked, and how."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from letterrec.data import Dataset
from letterrec.runs.notebook import html_table
from letterrec.serving.catalogue.items import Catalogue
from letterrec.serving.models import Model

_SHOWN = 8  # names in a row


def overview(
    folder: Path,
    run_id: str,
    recommender: str,
    dataset: Dataset,
    catalogue: Catalogue,
    model: Model,
) -> str:
    """A table, and a line of code that recommends something; what the run cannot do is left out.

    Args:
        folder: of the run.
        run_id: its `Run.id`.
        recommender: its name.
        dataset: that the run was fitted to.
        catalogue: as it stands.
        model: what ranks it.
    """
    rows = [
        ("run", run_id),
        ("recommender", recommender),
        ("items", _items(catalogue)),
        ("users", f"{dataset.n_users:,}"),
        ("history", f"the latest {model.ranker(catalogue).max_history:,} items of it are read"),
    ]
    if dataset.domains is not None:
        rows.append(("domain=", _listed(catalogue.domain_names)))
    if model.reads_behaviours:
        rows.append(("behaviour=", _listed(dataset.behaviours)))
    if dataset.targets:
        targets = _listed([dataset.behaviours[target] for target in dataset.targets])
        rows.append(("recommends for", targets))
    if model.follows_instructions:
        rows.append(("instruction=", "a wish in words, beside a history or instead of one"))
    if catalogue.attributes is not None and catalogue.attributes.names:
        rows.append(("where=", _listed(catalogue.attributes.names)))
    table = html_table(("", ""), rows, f"{folder}: {dataset.name}")
    call = f"engine.recommend([engine.history_of({dataset.user_ids[0]!r})], k=5)"
    return f"{table}<pre>{escape(call)}</pre>"


def _items(catalogue: Catalogue) -> str:
    """How many may be recommended, and how many of the others there are."""
    blocked, deleted = catalogue.count("blocked"), catalogue.count("deleted")
    added = catalogue.n_items - catalogue.n_trained
    others = ((blocked, "blocked"), (deleted, "deleted"), (added, "added since training"))
    told = [f"{catalogue.count('active'):,}", *(f"{n:,} {what}" for n, what in others if n)]
    return ", ".join(told)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
