"""What a run shows in the terminal: tables of metrics, identifiers and recommendations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from letterrec.data.splits import SPLITS
from letterrec.evaluation.results import Evaluation, SplitMetrics, parts_of
from letterrec.identifiers.diagnostics import Diagnosis
from letterrec.progress import Terminal
from letterrec.progress import table as empty_table

if TYPE_CHECKING:
    from letterrec.evaluation.cold_start import ColdMetrics
    from letterrec.runs.comparing import Comparison
    from letterrec.runs.inspecting import Weights
    from letterrec.serving.engine import Engine, Recommendations

_MANY_RETURN = 0.2  # of held-out targets
_METHODS: dict[Literal["letterrec", "content_knn", "popularity"], str] = {
    "letterrec": "LetterRec",
    "content_knn": "content-kNN",
    "popularity": "popularity",
}
_COLUMNS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")


def print_metrics(out: Terminal, results: Evaluation) -> None:
    """Metrics per split, with popularity beside them where it was measured."""
    table = empty_table("", *(c.capitalize().replace("Ndcg", "NDCG") for c in _COLUMNS))
    for split in SPLITS:
        if split not in results:
            continue
        result = results[split]
        n = result["users"]
        of = f" of {result['of_users']}" if "of_users" in result else ""
        table.add_row(f"{split}, {n}{of} users", *_cells(result["metrics"], n))
        if "standard_errors" in result:
            table.add_row("  standard error", *_cells(result["standard_errors"], n))
        for name, own in parts_of(result):
            label = f"  {name}, {own['users']} users"
            table.add_row(label, *_cells(own["metrics"], own["users"]))
        if "identifier_metrics" in result:
            table.add_row("  by identifier", *_cells(result["identifier_metrics"], n))
        if "popularity" in results:
            table.add_row("  popularity", *_cells(results["popularity"][split], n))
    out.print(table)
    last = results.get("test") or results["valid"]
    without = ", without seen items" if last.get("exclude_seen") else ""
    if "domain" in last:
        without += f", of the items and targets of {last['domain']} alone"
    if "behaviour" in last:
        without += f", asked for {last['behaviour']!r}"
    if not last["users"]:
        kind = f" of {last['behaviour']!r}" if "behaviour" in last else ""
        out.print(
            f"no user has an interaction{kind} held out, and a history before it: nothing is "
            "evaluated"
        )
        return
    how = (
        f"by beam search{without}, beam {last['beam']}" if "beam" in last else f"by score{without}"
    )
    out.print(f"full ranking {how}: {last['users_per_second']:.0f} users/s")
    _print_more(out, last)


def _print_more(out: Terminal, result: SplitMetrics) -> None:
    """Further metrics, what the lists are like, who could not be asked, and groups."""
    errors = result.get("standard_errors", {})
    further = [name for name in result["metrics"] if name not in _COLUMNS]
    if further:
        table = empty_table("", "mean", "standard error")
        for name in further:
            table.add_row(name, f"{result['metrics'][name]:.4f}", f"{errors[name]:.4f}")
        out.print(table)
    if lists := result.get("lists"):
        out.print(
            f"top 10: {lists['coverage@10']:.1%} of the items in anyone's, novelty "
            f"{lists['novelty@10']:.2f} bits (standard error {errors['novelty@10']:.2f})"
        )
    if new := result.get("without_history"):
        out.print(f"{new} more users have no history before this split and cannot be asked for")
    if "groups" in result:
        shown = ("recall@10", "ndcg@10")
        table = empty_table("", "users", *(f"{c} ± standard error" for c in shown))
        for group in result["groups"]:
            cells = (
                f"{group['metrics'][c]:.4f} ± {group['standard_errors'][c]:.4f}" for c in shown
            )
            table.add_row(group["name"], str(group["cases"]), *(cells if group["cases"] else "--"))
        out.print(table)


def print_comparison(out: Terminal, found: Comparison) -> None:
    """Two runs side by side, from `letterrec.compare`."""
    columns = ("first", "second", "difference", "95 % interval", "p")
    rows = empty_table(f"{found['split']}, {found['users']} users", *columns)
    for name, gain in found["metrics"].items():
        interval = f"{gain['low']:+.4f} to {gain['high']:+.4f}"
        means = (f"{gain['first']:.4f}", f"{gain['second']:.4f}", f"{gain['difference']:+.4f}")
        rows.add_row(name, *means, interval, f"{gain['p']:.4f}")
    out.print(rows)
    first, second = found["runs"]
    out.print(
        f"first: {first}; second: {second}; the difference is the second minus the first, its "
        "interval from resampling the users, each with both results",
        soft_wrap=True,
    )


def print_cold_metrics(out: Terminal, result: ColdMetrics) -> None:
    """How new items fare, from `cold_start.evaluate_cold`."""
    table = empty_table("", *(c.capitalize().replace("Ndcg", "NDCG") for c in _COLUMNS))
    parts = ((result["cold"], "targets added by text"), (result["warm"], "targets trained on"))
    for part, words in parts:
        table.add_row(f"{words}, {part['cases']} cases")
        for method, name in _METHODS.items():
            table.add_row(f"  {name}", *_cells(part[method]))
    table.add_row("  LetterRec before items were added", *_cells(result["warm_before"]))
    out.print(table)
    out.print(
        f"{result['cold_items']} of {result['items']} items added by text; full ranking without "
        f"seen items, beam {result['beam']}; a random list has Recall@10 "
        f"{result['cold']['chance']:.4f}",
        soft_wrap=True,
    )


def print_inspection(out: Terminal, found: Diagnosis | Weights) -> None:
    """What the identifiers look like, or the weights of a baseline, from `letterrec.inspect`."""
    if "weights" in found:
        weights = empty_table("weights", "shape", whole=("weights",))
        for name, shape in found["weights"].items():
            weights.add_row(name, " x ".join(map(str, shape)))
        out.print(weights)
        out.print(f"{found['recommender']} scores items as they are: it has no identifiers")
        return
    table = empty_table("level", "codes used", "entropy (bits)", "largest share")
    for i, level in enumerate(found["levels"], start=1):
        table.add_row(
            str(i),
            str(level["codes_used"]),
            f"{level['entropy']:.2f}",
            f"{level['largest_share']:.1%}",
        )
    out.print(table)
    if domains := found.get("domains"):
        table = empty_table("domain", "items", "codes used, by level", "first code shared")
        for name, use in domains.items():
            used = " ".join(str(level["codes_used"]) for level in use["levels"])
            table.add_row(name, str(use["items"]), used, f"{use['shared']:.1%}")
        out.print(table)
        out.print("first code shared: items whose first code items of another domain have too")
    rate = found["collision_rate"]
    out.print(
        f"items sharing an identifier: {rate['before']:.2%} before resolution, "
        f"{rate['after']:.2%} after"
    )
    if found.get("cf_overlap") is not None:
        out.print(f"cf_overlap (codes shared with the CF neighbour): {found['cf_overlap']:.3f}")
    if "cf_overlap_items" in found:
        out.print(f"  of a sample of {found['cf_overlap_items']} items, as is the next")
    shared, by_chance = found.get("cf_overlap_any"), found.get("random_overlap_any")
    if shared is not None and by_chance is not None:
        out.print(
            f"cf_overlap_any (items with a code of their CF neighbour): {shared:.3f}; "
            f"of random pairs: {by_chance:.3f}"
        )


def recommendation_table(engine: Engine, answer: Recommendations) -> Table:
    """One list of recommendations with titles and identifiers."""
    score_name = engine.score_name.replace("_", "-")
    head = ("", "item", "title", score_name, "identifier")
    table = empty_table(*head, whole=("", "item", score_name, "identifier"))
    catalogue = engine.catalogue  # with the items that were added since training
    for rank, (item, score) in enumerate(answer, start=1):
        row = catalogue.rows[item]
        cells = (item, catalogue.titles[row], f"{score:.2f}", catalogue.spelled(row))
        table.add_row(str(rank), *cells)
    return table


def returning_note(share: float) -> str:
    """What to know where people come back to what they had; empty where few do.

    Args:
        share: of held-out targets that are in the history; see `data.splits.returning_share`.
    """
    if share < _MANY_RETURN:
        return ""
    return (
        f"{share:.0%} of the held-out items were in the user's history before: people come back to "
        "what they had. Metrics count such items, and `recommend` leaves out what is in the "
        "history unless it is given --include-seen"
    )


def print_recommendations(out: Terminal, engine: Engine, users: Sequence[str], k: int = 5) -> None:
    """Recommendations for users of the run, after the titles they saw last."""
    histories = [engine.history_of(user) for user in users]
    titles = engine.titles
    answers = engine.recommend(histories, k=k, behaviours=map(engine.behaviours_of, users))
    for user, history, answer in zip(users, histories, answers, strict=True):
        latest = [titles[item] for item in history[-3:]]
        out.print()
        out.print(f"user {user}, who saw last: {'; '.join(latest)}", soft_wrap=True)
        out.print(recommendation_table(engine, answer))


def _cells(metrics: Mapping[str, float], users: int = 1) -> list[str]:
    return [f"{metrics[c]:.4f}" if users else "-" for c in _COLUMNS]
