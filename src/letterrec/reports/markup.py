"""The HTML that a report is made of: sections, tables, notes, switches; text is escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from letterrec.progress import visible

Row = Sequence[str]

_LONGEST = 80  # characters of a title beside a point


def safe(text: str) -> str:
    """A text from elsewhere as HTML that shows it as it is."""
    return html.escape(visible(text))


def label(title: str, longest: int = _LONGEST) -> str:
    """A title in a plot or a list, cut where it is longer than so many characters."""
    return safe(title if len(title) <= longest else f"{title[:longest]}…")


def anchor(title: str) -> str:
    """The id of a section, to which the list of contents leads.

    >>> anchor("By length of the history")
    'by-length-of-the-history'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def section(title: str, *parts: str) -> str:
    """A part of the report, under a heading."""
    inside = "".join(parts)
    return f'<section class="card" id="{anchor(title)}"><h2>{safe(title)}</h2>{inside}</section>'


def note(text: str) -> str:
    """A sentence on what is above it."""
    return f'<p class="quiet">{safe(text)}</p>'


def table(head: Row, rows: Iterable[Row]) -> str:
    """A table whose first column names the rows; without headings where all are empty."""
    top = "".join(f'<th scope="col">{safe(cell)}</th>' for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{safe(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{safe(first)}</th>{cells}</tr>')
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    kind = ' class="numbers"' if header else ""
    body = f"<tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table{kind}>{header}{body}</table></div>'


def panels(figures: Iterable[str], *, large: bool = False) -> str:
    """Plots side by side, as many as there is room for."""
    return f'<div class="panels{" large" if large else ""}">{"".join(figures)}</div>'


def switch(name: str, views: Sequence[tuple[str, str]]) -> str:
    """Views of which one is shown at a time, with a button for each; the first to begin with.

    Args:
        name: what the buttons choose, read by screen readers.
        views: the text of each button, and its view.
    """
    if len(views) == 1:
        return views[0][1]
    buttons = "".join(
        f'<button type="button" aria-pressed="{str(not i).lower()}">{safe(text)}</button>'
        for i, (text, _) in enumerate(views)
    )
    shown = "".join(
        f'<div class="view"{" hidden" if i else ""}>{view}</div>'
        for i, (_, view) in enumerate(views)
    )
    return (
        f'<div class="choice"><div class="buttons" role="group" aria-label="{safe(name)}">'
        f"{buttons}</div>{shown}</div>"
    )


def contents(titles: Iterable[str]) -> str:
    """The list of contents: a link to each section."""
    links = "".join(f'<li><a href="#{anchor(title)}">{safe(title)}</a></li>' for title in titles)
    return f'<nav class="contents" aria-label="Contents"><ol>{links}</ol></nav>'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """What the colours of a plot stand for: pairs of a colour and a text."""
    inside = "".join(
        f'<li><i style="background:{hue}"></i>{safe(text)}</li>' for hue, text in entries
    )
    return f'<ul class="legend">{inside}</ul>'


def page(title: str, summary: str, style: str, titles: Iterable[str], body: str) -> str:
    """The whole report.

    Args:
        title: of the page.
        summary: a line below it.
        style: CSS of the server's page, which the report shares.
        titles: of the sections, for the list of contents.
        body: the sections.
    """
    return _PAGE.format(
        title=safe(title),
        summary=safe(summary),
        style=style,
        contents=contents(titles),
        body=body,
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · LetterRec</title>
<style>
{style}
table {{ border-collapse: collapse; margin: .4rem 0 .8rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }}
thead th {{ color: var(--soft); font-weight: 600; font-size: .87rem; }}
tbody th {{ font-weight: 500; }}
.wide {{ overflow-x: auto; }}
.numbers th, .numbers td {{ white-space: nowrap; }}
.users ul, .users ol {{ margin: 0; padding-left: 1.2rem; }}
.hit {{ color: var(--accent); font-weight: 600; }}
h3 {{ margin: 1.1rem 0 .3rem; font-size: .95rem; }}
pre {{ overflow-x: auto; }}
section {{ scroll-margin-top: 1rem; }}
.contents ol {{ display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none;
  margin: 0 0 1.1rem; padding: 0; }}
.contents a, td a {{ color: var(--accent); }}
.panels {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 245px), 1fr));
  gap: .8rem 1.2rem; margin: .5rem 0; }}
.panels.large {{ grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }}
.panels figure {{ margin: 0; min-width: 0; max-width: 460px; }}
.panels figcaption {{ font-size: .87rem; font-weight: 600; }}
svg {{ display: block; width: 100%; height: auto; }}
svg text {{ fill: var(--soft); font: 11px system-ui, "DejaVu Sans", sans-serif; }}
svg .grid {{ stroke: var(--line); stroke-width: 1; }}
svg .line {{ fill: none; stroke-width: 2; stroke-linejoin: round; }}
svg .whisker {{ stroke: var(--ink); stroke-width: 1.2; fill: none; }}
svg .even {{ stroke: var(--ink); stroke-dasharray: 3 3; }}
.legend {{ list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0;
  margin: .4rem 0; font-size: .84rem; color: var(--soft); }}
.legend li {{ display: flex; align-items: baseline; gap: .4rem; }}
.legend i {{ width: .7rem; height: .7rem; border-radius: 3px; flex: none; }}
.buttons {{ display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0; }}
.buttons button {{ background: none; border-color: var(--line); color: var(--ink);
  font-weight: 500; }}
.buttons button[aria-pressed="true"] {{ background: var(--accent); border-color: var(--accent);
  color: var(--on-accent); }}
@media (max-width: 800px) {{
  .users thead {{ display: none; }}
  .users tr, .users th, .users td {{ display: block; border: 0; padding: .15rem 0; }}
  .users tr {{ border-bottom: 1px solid var(--line); padding: .5rem 0; }}
  .users [data-name]::before {{ content: attr(data-name) " "; color: var(--soft);
    font-size: .87rem; font-weight: 600; }}
}}
@media print {{ .view[hidden] {{ display: block !important; }} .buttons {{ display: none; }} }}
</style>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const apply = () => {{ document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; }};
dark.addEventListener("change", apply);
apply();
document.addEventListener("click", (event) => {{
  const button = event.target.closest(".buttons button");
  if (!button) return;
  const all = [...button.parentElement.children];
  all.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  const views = button.closest(".choice").querySelectorAll(":scope > .view");
  views.forEach((view, i) => {{ view.hidden = all[i] !== button; }});
}});
</script>
</head>
<body>
<header class="top"><div><h1>{title}</h1><p class="quiet">{summary}</p></div>
</header>
<main>
{contents}
{body}
</main>
</body>
</html>
"""
