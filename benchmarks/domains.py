"""What one model of several sources is worth: beside a run of each, and to users and domains that
are new to it.

`together`: two sources in one run and each in a run of its own, with the same settings and the same
sample of users; every domain's test metrics, its own items competing alone, and all of them.

`transfer`: one source cut into two domains with shared users, by the second level of its items'
categories. Of half of those users with a history in the first domain nothing of the second is
trained on; their first item there is asked for. Beside the joint run: popularity; the run of the
second domain alone, which knows nothing of them, as it is and with the first domain's items added
by text; and the run of the first domain alone with the second added by text, a new domain.

Runs are kept in the folder of ``--out``, and a call that was stopped goes on. Prints JSON.

```
python benchmarks/domains.py together Beauty/ Yelp/ --users 8000 --out runs/together
python benchmarks/domains.py transfer Beauty/ --users 14000 --core 4 --out runs/transfer
```
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import letterrec
from letterrec.data import Dataset, Histories
from letterrec.data.domains import combined
from letterrec.data.readers.k_core import k_core
from letterrec.data.text import ItemText
from letterrec.evaluation.metrics import Measures, ranks_of, standard_errors, summarise
from letterrec.serving.editing.editor import Editor
from letterrec.serving.editing.edits import AddItems
from letterrec.serving.engine import Engine
from letterrec.studies.runs import seconds_of

NEW = 0.5  # share of the users of both domains who become new to the second
MEASURES = Measures(cuts=(10,))
AT_ONCE = 512  # histories asked for at a time


def part(dataset: Dataset, kept: NDArray[np.bool_], name: str, core: int) -> Dataset:
    """The k-core of some interactions, bool ``(n_interactions,)``, as a data set of its own."""
    owners = np.repeat(np.arange(dataset.n_users), dataset.interactions.lengths)
    items = dataset.interactions.items
    rows = np.flatnonzero(kept)
    rows = np.sort(rows[k_core(owners[rows], items[rows], core)])
    users, user = np.unique(owners[rows], return_inverse=True)
    left, item = np.unique(items[rows], return_inverse=True)
    place = rows - dataset.interactions.offsets[owners[rows]]  # stands for the time
    assert dataset.texts is not None
    return Dataset(
        name=name,
        user_ids=tuple(dataset.user_ids[u] for u in users),
        item_ids=tuple(dataset.item_ids[i] for i in left),
        interactions=Histories(np.append(0, np.cumsum(np.bincount(user))), item.astype(np.int32)),
        titles=tuple(dataset.titles[i] for i in left),
        texts=tuple(dataset.texts[i] for i in left),
        times=place.astype(np.float64),
    )


def sample(dataset: Dataset, n: int) -> NDArray[np.bool_]:
    """bool ``(n_interactions,)``: those of ``n`` random users."""
    chosen = np.zeros(dataset.n_users, dtype=bool)
    chosen[np.random.default_rng(0).permutation(dataset.n_users)[:n]] = True
    return np.repeat(chosen, dataset.interactions.lengths)


def fitted(source: Dataset, folder: Path, settings: dict[str, object]) -> float:
    """Fit, or go on with a fit; seconds of its stages."""
    run = letterrec.fit(source, folder, settings, resume=(folder / "run.json").exists())
    return seconds_of(run)


def together(
    sources: Sequence[str], out: Path, n: int, core: int, settings: dict[str, object]
) -> object:
    """Each source alone and all in one run."""
    parts: dict[str, Dataset] = {}
    for source in sources:
        whole = letterrec.read(source)
        parts[whole.name] = part(whole, sample(whole, n), whole.name, core)
    seconds = {name: fitted(data, out / name, settings) for name, data in parts.items()}
    joint = out / "together"
    seconds["together"] = fitted(combined(parts), joint, settings)
    of_all = letterrec.evaluate(joint, users=None, progress=False)
    found: dict[str, object] = {"seconds": seconds, "data": {n: repr(d) for n, d in parts.items()}}
    for name in parts:
        found[name] = {
            "alone": _told(letterrec.evaluate(out / name, progress=False)),
            "together, its own items": _told(
                letterrec.evaluate(joint, domain=name, progress=False)
            ),
            "together, all items": _told(of_all["domains"][name]),
        }
    return found


def _told(result: object) -> dict[str, object]:
    assert isinstance(result, dict)
    return {key: result[key] for key in ("users", "metrics", "standard_errors")}


def halves(dataset: Dataset) -> list[list[str]]:
    """Two lists of kinds of items, the second level of their categories: the largest first, each to
    the side that has fewer interactions.
    """
    counts = np.bincount(dataset.interactions.items, minlength=dataset.n_items)
    kinds = kinds_of(dataset)
    sizes = {str(kind): int(counts[kinds == kind].sum()) for kind in np.unique(kinds)}
    sides: list[list[str]] = [[], []]
    for kind in sorted(sizes, key=lambda kind: -sizes[kind]):
        min(sides, key=lambda side: sum(sizes[k] for k in side)).append(kind)
    return sides


def kinds_of(dataset: Dataset) -> NDArray[np.str_]:
    """The second level of each item's categories, or the first where there is none."""
    assert dataset.categories is not None
    return np.array([path[min(1, len(path) - 1)] if path else "" for path in dataset.categories])


def split(
    dataset: Dataset, n: int, core: int
) -> tuple[dict[str, Dataset], list[tuple[list[str], str]]]:
    """Two domains of a data set, and what is asked of users who are new to the second: the items
    that they had before in the first, and their first item in the second.
    """
    one, two = (np.isin(kinds_of(dataset), side) for side in halves(dataset))
    known = sample(dataset, n)
    trained = known.copy()
    asked: list[tuple[list[str], str]] = []
    random = np.random.default_rng(1)
    for user, items in enumerate(dataset.interactions):
        start = int(dataset.interactions.offsets[user])
        there = np.flatnonzero(two[items])
        if not known[start] or not len(there) or there[0] < 2 or random.random() >= NEW:
            continue
        trained[start + there[0] : start + len(items)] = False
        before = [dataset.item_ids[i] for i in items[: there[0]]]
        asked.append((before, dataset.item_ids[items[there[0]]]))
    items = dataset.interactions.items
    parts = {
        name: part(dataset, trained & side[items], name, core)
        for name, side in (("first", one), ("second", two))
    }
    here, after = (set(data.item_ids) for data in parts.values())
    kept = [([i for i in before if i in here], target) for before, target in asked]
    return parts, [(before, target) for before, target in kept if before and target in after]


def measured(lists: Sequence[Sequence[str]], targets: Sequence[str]) -> dict[str, object]:
    """Recall@10 and NDCG@10 of lists of item ids."""
    number = {item: i for i, item in enumerate(dict.fromkeys(targets))}
    rows = np.full((len(lists), 10), -1, dtype=np.int64)
    for row, found in enumerate(lists):
        rows[row, : len(found)] = [number.get(item, len(number)) for item in found]
    ranks = ranks_of(rows, np.array([number[t] for t in targets]))
    return {
        "metrics": summarise(ranks, MEASURES),
        "standard_errors": standard_errors(ranks, MEASURES),
    }


def added(run: Path, data: Dataset, domain: str) -> Engine:
    """A run with the items of another data set added by their text, as a domain of their own."""
    engine = letterrec.load(run)
    if domain not in engine.catalogue.domain_names:
        assert data.texts is not None
        words = dict(zip(data.item_ids, map(ItemText, data.titles, data.texts), strict=True))
        Editor(engine).make(AddItems(words, domains=dict.fromkeys(words, domain)))
    return engine


def transfer(
    sources: Sequence[str], out: Path, n: int, core: int, settings: dict[str, object]
) -> object:
    """Users new to a domain, and a domain new to a run."""
    whole_set = letterrec.read(sources[0])
    parts, asked = split(whole_set, n, core)
    first, second = parts
    one, two = parts.values()
    joined = combined(parts, join_users=True)
    seconds = {
        "together": fitted(joined, out / "together", settings),
        "second": fitted(two, out / "second", settings),
        "first": fitted(one, out / "first", settings),
    }
    targets = [target for _, target in asked]

    def lists(engine: Engine, name: Callable[[str], str], domain: str, there: str) -> object:
        histories = [[name(item) for item in before] for before, _ in asked]
        answers: list[list[str]] = []
        for start in range(0, len(asked), AT_ONCE):
            found = engine.recommend(histories[start : start + AT_ONCE], 10, domain=domain)
            answers += [[item.removeprefix(there) for item, _ in answer] for answer in found]
        return measured(answers, targets)

    whole, prefix = (lambda item: f"{first}/{item}"), f"{second}/"
    popular = [two.item_ids[i] for i in np.argsort(-two.popularity, kind="stable")[:10]]
    began = time.perf_counter()
    with_second = added(out / "first", two, second)
    seconds["adding the second domain"] = time.perf_counter() - began
    return {
        "domains": {name: repr(data) for name, data in parts.items()},
        "kinds": halves(whole_set),
        "users in both": len(set(one.user_ids) & set(two.user_ids)),
        "users new to the second": len(asked),
        "seconds": seconds,
        "popularity": measured([popular] * len(asked), targets),
        "together": lists(letterrec.load(out / "together"), whole, second, prefix),
        "second alone, the first added by text": lists(
            added(out / "second", one, first), whole, second, ""
        ),
        "first alone, the second added by text": lists(with_second, str, second, prefix),
        "chance": 10 / two.n_items,
        "within the second": {
            "together": _told(letterrec.evaluate(out / "together", domain=second, progress=False)),
            "alone": _told(letterrec.evaluate(out / "second", progress=False)),
        },
        "within the first": {
            "together": _told(letterrec.evaluate(out / "together", domain=first, progress=False)),
            "alone": _told(letterrec.evaluate(out / "first", progress=False)),
        },
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=("together", "transfer"))
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=int, default=10_000, help="sampled of each source")
    parser.add_argument("--core", type=int, default=5, help="k of the k-core of each domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=16, help="of the recommender")
    asked = parser.parse_args()
    ask = together if asked.question == "together" else transfer
    settings = {"seed": asked.seed, "training.epochs": asked.epochs}
    print(json.dumps(ask(asked.sources, asked.out, asked.users, asked.core, settings), indent=1))


if __name__ == "__main__":
    main()
