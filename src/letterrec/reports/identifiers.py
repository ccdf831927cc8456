"""A report's sections on identifiers: how codes are used, and maps of codes and items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from letterrec.embeddings.projection import principal_components, sample
from letterrec.evaluation.breakdowns import shares_by_rank
from letterrec.identifiers.diagnostics import code_counts
from letterrec.reports.markup import label, legend, note, panels, section, switch, table
from letterrec.reports.plots import HUES, Bars, Point, bars, scatter
from letterrec.runs.run import Run
from letterrec.serving.catalogue.tree import most_popular_titles
from letterrec.serving.colour_groups import ColourGroups, colour_groups
from letterrec.serving.engine import Engine
from letterrec.tokenizers import load_tokenizer

_GROUPS = 16
_CODES = 1_200  # points of all maps of codes together, which keeps the report small
_ITEMS = 1_000  # of the map of items
_OTHER = "color-mix(in srgb, var(--soft) 55%, transparent)"


def identifier_sections(run: Run, engine: Engine) -> list[str]:
    """What there is to see of identifiers and embeddings; of a baseline nothing."""
    if not engine.model.generates:
        return []
    about = section("Identifiers", _use_of_codes(run), *_use_by_rank(engine))
    maps = [*_code_maps(engine), *_item_maps(engine)]
    return [about, *([section("Embedding maps", *maps)] if maps else [])]


def _use_of_codes(run: Run) -> str:
    found = run.diagnostics()
    rows = [
        (str(i), str(lv["codes_used"]), f"{lv['entropy']:.2f}", f"{lv['largest_share']:.1%}")
        for i, lv in enumerate(found["levels"], start=1)
    ]
    rate = found["collision_rate"]
    words = (
        f"Items that share an identifier: {rate['before']:.2%} before resolution, "
        f"{rate['after']:.2%} after."
    )
    if found.get("cf_overlap") is not None:
        words += f" Codes shared with the nearest neighbour by CF: {found['cf_overlap']:.3f}."
    shared, by_chance = found.get("cf_overlap_any"), found.get("random_overlap_any")
    if shared is not None and by_chance is not None:
        words += (
            f" Items with at least one code of that neighbour: {shared:.3f}; "
            f"of a random item: {by_chance:.3f}."
        )
    head = ("Level", "Codes used", "Entropy (bits)", "Largest share")
    return table(head, rows) + note(words)


def _use_by_rank(engine: Engine) -> list[str]:
    """The paper's Fig. 6: how evenly the codes are used, by interactions; a panel a level."""
    codes = engine.identifiers.codes
    items = engine.dataset.training().items
    figures = []
    for level, counts in enumerate(code_counts(engine.identifiers)):
        used = codes[items, level]
        in_training = np.bincount(used[used >= 0], minlength=len(counts))
        shares = shares_by_rank(in_training, _GROUPS)
        figures.append(
            bars(
                f"Level {level + 1}: {int((counts > 0).sum())} of {len(counts)} codes used",
                [f"{i + 1}" for i in range(len(shares))],
                [Bars("group", shares, HUES[level % len(HUES)])],
                "groups of codes, most frequent first",
                even=1 / len(shares),
            )
        )
    words = (
        "Share of the training interactions by groups of codes (the paper's Fig. 6); an even use "
        "would reach the dashed line everywhere."
    )
    return [panels(figures), note(words)]


def _code_maps(engine: Engine) -> list[str]:
    """The paper's Fig. 7: code embeddings on their principal components, a level at a time."""
    folder = engine.files.tokenizer
    codebooks = load_tokenizer(folder).codebooks if folder.is_dir() else None
    if codebooks is None:
        return []
    used = code_counts(engine.identifiers)
    most = max(40, _CODES // len(codebooks))
    views = []
    for level, codebook in enumerate(codebooks):
        titles = most_popular_titles(engine.catalogue, level + 1)
        views.append((f"Level {level + 1}", _code_map(level, codebook, used[level], titles, most)))
    words_below = (
        "Code embeddings on their principal components (the paper's Fig. 7); larger points have "
        "more items, grey ones none. A point says its items when it is pointed at."
    )
    return [switch("Level", views), note(words_below)]


def _code_map(
    level: int,
    codebook: NDArray[np.float32],
    counts: NDArray[np.int64],
    titles: dict[int, str],
    most: int,
) -> str:
    where, shares = principal_components(codebook)
    chosen = np.sort(np.argsort(-counts, kind="stable")[:most])
    largest = max(1, int(counts.max()))
    points = [
        Point(
            2 + 6 * float(np.sqrt(counts[c] / largest)),
            HUES[level % len(HUES)] if counts[c] else _OTHER,
            f"code {c}: {counts[c]} items, {label(titles.get(int(c), 'not used'))}",
        )
        for c in chosen
    ]
    return _projections(points, where[chosen], shares)


def _item_maps(engine: Engine) -> list[str]:
    """The items' content on its principal components, coloured by the group that they are of."""
    if engine.content is None:
        return []
    rows = sample(engine.dataset.n_items, _ITEMS)
    where, shares = principal_components(engine.content[rows])
    views = [
        (groups.title, _item_map(engine, rows, where, shares, groups))
        for groups in colour_groups(engine, engine.catalogue, rows)
    ]
    words = f"Content embeddings of {len(rows):,} items on their principal components."
    return ["<h3>Items</h3>", switch("Colour", views), note(words)]


def _item_map(
    engine: Engine,
    rows: NDArray[np.int64],
    where: NDArray[np.float32],
    shares: list[float],
    groups: ColourGroups,
) -> str:
    titles = engine.catalogue.titles
    hues = [*HUES, _OTHER]
    points = [
        Point(2.2, hues[group], label(titles[row]))
        for row, group in zip(rows, groups.of_each, strict=True)
    ]
    entries = [(hues[min(i, len(HUES))], name) for i, name in enumerate(groups.names)]
    return legend(entries) + _projections(points, where, shares)


def _projections(points: list[Point], where: NDArray[np.float32], shares: list[float]) -> str:
    """The first principal component against the second, and against the third."""
    x, *others = (f"PC {i + 1} ({share:.0%})" for i, share in enumerate(shares))
    figures = [
        scatter(f"{x} and {y}", points, where[:, [0, i]], x, y)
        for i, y in enumerate(others, start=1)
    ]
    return panels(figures, large=True)
