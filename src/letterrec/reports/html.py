"""A run's report: one HTML file with its tables and plots, that needs nothing else to be read."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from letterrec import api
from letterrec.data.domains import items_in, names_of
from letterrec.data.splits import SPLITS
from letterrec.embeddings.projection import principal_components, sample
from letterrec.errors import MissingExtra, RunError
from letterrec.evaluation.breakdowns import Breakdowns, analyse, shares_by_rank
from letterrec.evaluation.protocol import Evaluation, Group
from letterrec.files import write_text
from letterrec.identifiers.diagnostics import code_counts, domain_use
from letterrec.progress import visible
from letterrec.runs.run import Run
from letterrec.serving.engine import Engine
from letterrec.serving.http.views import most_popular_titles
from letterrec.tokenizers import load_tokenizer

_METRICS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
_GROUPS = 16
_POINTS = 2_000
_LONGEST = 120  # characters of a title beside a point
_HUES = ("#0f8b8d", "#5d6bd0", "#c98a1b", "#c94f6d", "#6a9a3b", "#9464a8")


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished run.

    Args:
        folder: of the run.
        out: the file; None means ``report.html`` in the folder.

    Returns:
        The file.

    Raises:
        MissingExtra: plotly is not installed.
        RunError: the run is unfinished or damaged, or the file cannot be written.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise MissingExtra("plotly", "report") from None
    run = Run.open(folder)
    run.require("evaluation")
    engine = api.load(folder, edits=False)
    parts = [
        _section("Metrics", _metrics_table(run.metrics())),
        *_groups(analyse(engine.ranker, engine.dataset, users=run.settings.evaluation.test_users)),
        *_domains(engine),
        *_identifiers(run, engine),
        *_curves(run),
        _section("How it was made", _facts(run), _settings(run)),
    ]
    style = (resources.files("letterrec.serving") / "page" / "style.css").read_text("utf-8")
    title = _safe(engine.dataset.name)
    page = _PAGE.format(
        title=title,
        style=style,
        plotly=get_plotlyjs(),
        summary=_safe(_summary(engine)),
        body="\n".join(parts),
    )
    path = out if out is not None else run.files.report
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(
            f"{path} could not be written ({error.strerror or error}); name another --out"
        ) from None
    return path


def _summary(engine: Engine) -> str:
    dataset = engine.dataset
    return (
        f"{dataset.n_users:,} users · {dataset.n_items:,} items · "
        f"{dataset.n_interactions:,} interactions · {engine.settings.recommender.name}"
    )


def _metrics_table(metrics: Evaluation) -> str:
    rows = []
    for split in reversed(SPLITS):
        result = metrics[split]
        n = result["users"]
        of = f" of {result['of_users']:,}" if "of_users" in result else ""
        rows.append((f"{split}, {n:,}{of} users", *_cells(result["metrics"], n)))
        if "standard_errors" in result:
            rows.append(("standard error", *_cells(result["standard_errors"], n)))
        for name, own in result.get("domains", {}).items():
            label = f"{name}, {own['users']:,} users"
            rows.append((label, *_cells(own["metrics"], own["users"])))
        if "identifier_metrics" in result:
            rows.append(("by identifier", *_cells(result["identifier_metrics"], n)))
        rows.append(("popularity", *_cells(metrics["popularity"][split], n)))
    beam = metrics["test"].get("beam")
    how = "score" if beam is None else f"beam search, beam {beam}"
    note = f"Full ranking by {how}; seen items compete."
    return _table(("", "Recall@5", "Recall@10", "NDCG@5", "NDCG@10"), rows) + _note(note)


def _domains(engine: Engine) -> list[str]:
    """What the domains of a run of several sources have, and how they use the codes."""
    dataset = engine.dataset
    if dataset.domains is None:
        return []
    users = np.repeat(np.arange(dataset.n_users), dataset.interactions.lengths)
    uses = domain_use(engine.identifiers, dataset.domains) if engine.model.generates else {}
    rows = []
    for name in names_of(dataset):
        own = items_in(dataset, name)
        mine = own[dataset.interactions.items]
        row = [name, f"{own.sum():,}", f"{len(np.unique(users[mine])):,}", f"{mine.sum():,}"]
        if name in uses:
            use = uses[name]
            row += [" ".join(str(level["codes_used"]) for level in use["levels"])]
            row += [f"{use['shared']:.1%}"]
        rows.append(row)
    head = ["", "Items", "Users", "Interactions"]
    head += ["Codes used, by level", "First code shared"] if uses else []
    note = "First code shared: items whose first code items of another domain have too."
    return [_section("Domains", _table(head, rows), _note(note) if uses else "")]


def _cells(metrics: Mapping[str, float], users: int) -> list[str]:
    return [f"{metrics[name]:.4f}" if users else "-" for name in _METRICS]


def _groups(found: Breakdowns) -> list[str]:
    head = ("", "Cases", "Recall@10", "NDCG@10")

    def rows(groups: Iterable[Group]) -> list[Sequence[str]]:
        return [
            (
                g["name"],
                f"{g['cases']:,}",
                *(
                    f"{g['metrics'][name]:.4f} ± {g['standard_errors'][name]:.4f}"
                    for name in ("recall@10", "ndcg@10")
                ),
            )
            for g in groups
        ]

    lists = [
        (name, f"{spread.coverage:.1%}", f"{spread.gini:.3f}")
        for name, spread in found.lists.items()
    ]
    return [
        _section(
            "By popularity of the target",
            _bars(found.by_popularity),
            _table(head, rows(found.by_popularity)),
            _note("Fifths of the catalogue, rarest items first; in brackets the occurrences."),
        ),
        _section(
            "By length of the history",
            _bars(found.by_length),
            _table(head, rows(found.by_length)),
        ),
        _section(
            "What is recommended at all",
            _table(("Top 10 of", "Coverage", "Gini index"), lists),
            _note(
                "Coverage: items in anyone's list. Gini: 0 if all items come equally often, "
                "near 1 if always the same ones."
            ),
        ),
    ]


def _bars(groups: Sequence[Group]) -> str:
    import plotly.graph_objects as go

    shown = [g for g in groups if g["cases"]]
    names = [g["name"] for g in shown]
    figure = go.Figure(
        [
            go.Bar(name=label, x=names, y=[g["metrics"][key] for g in shown], marker_color=hue)
            for label, key, hue in (
                ("Recall@10", "recall@10", _HUES[0]),
                ("NDCG@10", "ndcg@10", _HUES[2]),
            )
        ]
    )
    return _figure(figure, height=280)


def _identifiers(run: Run, engine: Engine) -> list[str]:
    """What there is to see of identifiers and embeddings; of a baseline nothing."""
    if not engine.model.generates:
        return []
    about = _section("Identifiers", _identifiers_table(run), *_code_figures(engine))
    return [about, *_maps(engine)]


def _identifiers_table(run: Run) -> str:
    found = run.diagnostics()
    rows = [
        (str(i), str(lv["codes_used"]), f"{lv['entropy']:.2f}", f"{lv['largest_share']:.1%}")
        for i, lv in enumerate(found["levels"], start=1)
    ]
    rate = found["collision_rate"]
    note = (
        f"Items that share an identifier: {rate['before']:.2%} before resolution, "
        f"{rate['after']:.2%} after."
    )
    if found.get("cf_overlap") is not None:
        note += f" Codes shared with the nearest neighbour by CF: {found['cf_overlap']:.3f}."
    shared, by_chance = found.get("cf_overlap_any"), found.get("random_overlap_any")
    if shared is not None and by_chance is not None:
        note += (
            f" Items with at least one code of that neighbour: {shared:.3f}; "
            f"of a random item: {by_chance:.3f}."
        )
    if "cf_overlap_items" in found:
        note += f" Neighbours are of a sample of {found['cf_overlap_items']} items."
    head = ("Level", "Codes used", "Entropy (bits)", "Largest share")
    return _table(head, rows) + _note(note)


def _code_figures(engine: Engine) -> list[str]:
    """The paper's Fig. 6: how evenly the codes are used, by items and by interactions."""
    import plotly.graph_objects as go

    codes = engine.identifiers.codes
    items = engine.dataset.training().items
    traces = []
    for level, counts in enumerate(code_counts(engine.identifiers)):
        used = codes[items, level]
        in_training = np.bincount(used[used >= 0], minlength=len(counts))
        shares = shares_by_rank(in_training, _GROUPS)
        traces.append(
            go.Bar(
                name=f"level {level + 1}: {int((counts > 0).sum())} of {len(counts)} used",
                x=[f"{i + 1}" for i in range(len(shares))],
                y=shares,
                marker_color=_HUES[level % len(_HUES)],
                visible=True if level == 0 else "legendonly",
            )
        )
    figure = go.Figure(traces)
    figure.update_layout(xaxis_title="groups of codes, most frequent first", yaxis_title="share")
    return [
        _figure(figure, height=320),
        _note("Share of the training interactions by groups of codes (the paper's Fig. 6)."),
    ]


def _maps(engine: Engine) -> list[str]:
    """The paper's Fig. 7, the code embeddings of the first level, and the items' content."""
    import plotly.graph_objects as go

    figures = []
    folder = engine.files.tokenizer
    codebooks = load_tokenizer(folder).codebooks if folder.is_dir() else None
    if codebooks is not None:
        codebook = codebooks[0]
        counts = code_counts(engine.identifiers)[0]
        where, shares = principal_components(codebook)
        titles = most_popular_titles(engine.catalogue, 1)
        words = [
            f"code {c}: {n} items<br>{_label(titles.get(c, ''))}" for c, n in enumerate(counts)
        ]
        marker = {
            "size": 4 + 14 * np.sqrt(counts / max(1, counts.max())),
            "color": counts,
            "colorscale": [[0, "#b9d6d3"], [1, "#063f44"]],
            "showscale": True,
        }
        trace = go.Scatter3d(
            x=where[:, 0], y=where[:, 1], z=where[:, 2], mode="markers", marker=marker, text=words
        )
        figures += [
            _scene(trace, shares),
            _note("Code embeddings of the first level; darker codes have more items (Fig. 7)."),
        ]
    if engine.content is not None:
        rows = sample(engine.dataset.n_items, _POINTS)
        where, shares = principal_components(engine.content[rows])
        first = engine.identifiers.codes[rows, 0]
        marker = {"size": 3, "color": (first * 47) % 360, "colorscale": "HSV", "opacity": 0.75}
        words = [_label(engine.dataset.titles[r]) for r in rows]
        trace = go.Scatter3d(
            x=where[:, 0], y=where[:, 1], z=where[:, 2], mode="markers", marker=marker, text=words
        )
        note = f"Content embeddings of {len(rows):,} items; the colour is the first code."
        figures += [_scene(trace, shares), _note(note)]
    return [_section("Embedding maps", *figures)] if figures else []


def _scene(trace: Any, shares: Sequence[float]) -> str:
    import plotly.graph_objects as go

    trace.update(hovertemplate="%{text}<extra></extra>")
    figure = go.Figure([trace])
    axes = {
        f"{axis}axis": {
            "title": {"text": f"PC {i + 1} ({shares[i]:.0%})"},
            "showbackground": False,
            "gridcolor": "rgba(128,128,128,.3)",
        }
        for i, axis in enumerate("xyz")
    }
    figure.update_layout(scene=axes)
    return _figure(figure, height=520)


def _curves(run: Run) -> list[str]:
    import plotly.graph_objects as go

    figures = []
    for stage in ("collaborative", "tokenizer", "recommender"):
        try:
            epochs = run.training_log(stage).epochs
        except RunError:
            continue  # this stage trained nothing, or its checkpoint was deleted or damaged
        names = [n for n in epochs[-1] if n not in ("epoch", "seconds")] if epochs else []
        traces = []
        for i, name in enumerate(names):
            points = [(e["epoch"] + 1, e[name]) for e in epochs if name in e]
            traces.append(
                go.Scatter(
                    name=name,
                    x=[x for x, _ in points],
                    y=[y for _, y in points],
                    mode="lines+markers" if len(points) < 40 else "lines",
                    line_color=_HUES[i % len(_HUES)],
                    yaxis="y2" if name.startswith("valid/") else "y",
                )
            )
        figure = go.Figure(traces)
        figure.update_layout(
            xaxis_title="epoch",
            yaxis_title="training",
            yaxis2={"title": {"text": "validation"}, "overlaying": "y", "side": "right"},
        )
        figures += [f"<h3>{stage}</h3>", _figure(figure, height=320)]
    return [_section("Training", *figures)] if figures else []


def _facts(run: Run) -> str:
    about = run.about
    rows = [
        ("source", about["source"]),
        ("started", about["started"]),
        ("seed", str(about["seed"])),
        ("LetterRec", f"{about['letterrec']}, commit {about['commit'] or 'not known'}"),
        ("Python", about["python"]),
        ("packages", ", ".join(f"{k} {v}" for k, v in about["packages"].items())),
        ("machine", ", ".join(str(v) for v in about["machine"].values() if v)),
        *((f"stage {name}", f"{s['seconds']:.1f} s") for name, s in about["stages"].items()),
    ]
    return _table(("", ""), rows)


def _settings(run: Run) -> str:
    text = html.escape(run.settings.to_toml())
    return f"<details><summary>All settings</summary><pre>{text}</pre></details>"


def _figure(figure: Any, height: int) -> str:
    """A plot that is readable on light and on dark ground."""
    figure.update_layout(
        height=height,
        margin={"l": 50, "r": 50, "t": 60, "b": 45},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#7f8b90"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False)
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return text


def _safe(text: str) -> str:
    """A text from elsewhere as HTML that shows it as it is."""
    return html.escape(visible(text))


def _label(title: str) -> str:
    """A title beside a point of a plot: plotly reads the tags and entities of HTML."""
    return _safe(title if len(title) <= _LONGEST else f"{title[:_LONGEST]}…")


def _section(title: str, *parts: str) -> str:
    return f'<section class="card"><h2>{_safe(title)}</h2>{"".join(parts)}</section>'


def _note(text: str) -> str:
    return f'<p class="quiet">{_safe(text)}</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{_safe(cell)}</th>" for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{_safe(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{_safe(first)}</th>{cells}</tr>')
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<div class="wide"><table>{header}<tbody>{"".join(lines)}</tbody></table></div>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · LetterRec</title>
<style>
{style}
table {{ border-collapse: collapse; margin: .4rem 0 .8rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); }}
thead th {{ color: var(--soft); font-weight: 600; font-size: .87rem; }}
tbody th {{ font-weight: 500; }}
.wide {{ overflow-x: auto; }}
h3 {{ margin: 1rem 0 0; font-size: .95rem; }}
pre {{ overflow-x: auto; }}
</style>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const apply = () => {{ document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; }};
dark.addEventListener("change", apply);
apply();
</script>
<script>{plotly}</script>
</head>
<body>
<header class="top"><div><h1>{title}</h1><p class="quiet">{summary}</p></div>
</header>
<main>
{body}
</main>
</body>
</html>
"""
