"""A figure as panels of bars, lines or points: drawn as SVG, as HTML, and written as CSV.

The SVG is made here, in the few shapes that the paper's figures need, so that a static image takes
no browser and no drawing library; the HTML is Plotly's and can be turned and zoomed.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from letterrec.errors import MissingExtra

_HUES = ("#0f8b8d", "#c94f6d", "#5d6bd0", "#c98a1b")
_WIDTH, _HEIGHT = 380, 260  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 12, 34, 48  # of a panel, around what is drawn
_TICKS = 4
_LABELS = 10  # below an axis, at most

Place = Callable[[float, float], tuple[float, float]]  # values -> pixels


@dataclass(frozen=True)
class Series:
    """One set of values.

    Attributes:
        name: what people read.
        kind: bars and lines stand at the panel's labels, points where ``x`` says.
        y: the values; of points the second coordinates.
        x: first coordinates of points.
        z: third coordinates of points: depth in HTML, shade in SVG.
    """

    name: str
    kind: Literal["bars", "line", "points"]
    y: Sequence[float]
    x: Sequence[float] = ()
    z: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """Axes with some series.

    Attributes:
        title: above it.
        x_title: below it.
        y_title: beside it.
        series: what is drawn, the first below the others.
        labels: of the places on the first axis, for bars and lines.
    """

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    labels: Sequence[str] = ()


def as_csv(panels: Sequence[Panel]) -> str:
    """All values, a row each: panel, series, x (a label or a coordinate), y, z."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["panel", "series", "x", "y", "z"])
    for panel in panels:
        for series in panel.series:
            places: Sequence[float | str] = series.x or panel.labels
            depths: Sequence[float | str] = series.z or [""] * len(series.y)
            for x, y, z in zip(places, series.y, depths, strict=True):
                writer.writerow([panel.title, series.name, x, y, z])
    return out.getvalue()


def as_svg(title: str, panels: Sequence[Panel], columns: int = 2) -> str:
    """The panels side by side, ``columns`` of them in a row."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = columns * _WIDTH, rows * _HEIGHT + 30
    inside = [_text(width / 2, 20, title, size=15, anchor="middle")]
    for i, panel in enumerate(panels):
        x, y = i % columns * _WIDTH, i // columns * _HEIGHT + 30
        inside.append(f'<g transform="translate({x} {y})">{"".join(_panel(panel))}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(inside)}</svg>\n"
    )


def check_html() -> None:
    """Refuse to draw pages where that cannot be done.

    Raises:
        MissingExtra: plotly is not installed.
    """
    if importlib.util.find_spec("plotly") is None:
        raise MissingExtra("plotly", "report")


def as_html(title: str, panels: Sequence[Panel], columns: int = 2) -> str:
    """A page of its own, with Plotly in it; points are drawn in space."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    columns = min(columns, len(panels))
    in_space = [any(s.kind == "points" for s in panel.series) for panel in panels]
    kinds = [{"type": "scene" if space else "xy"} for space in in_space]
    rows = -(-len(panels) // columns)
    kinds += [{"type": "xy"}] * (rows * columns - len(panels))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        specs=[kinds[start : start + columns] for start in range(0, len(kinds), columns)],
        subplot_titles=[panel.title for panel in panels],
    )
    for i, panel in enumerate(panels):
        row, column = i // columns + 1, i % columns + 1
        for hue, series in zip(_HUES, panel.series, strict=False):
            common = {"name": series.name, "showlegend": i == 0}
            if series.kind == "points":
                marker = {"size": 4, "color": list(series.z), "colorscale": "Viridis"}
                trace = go.Scatter3d(
                    x=series.x, y=series.y, z=series.z, mode="markers", marker=marker, **common
                )
            else:
                shape = go.Bar if series.kind == "bars" else go.Scatter
                trace = shape(x=panel.labels, y=series.y, marker_color=hue, **common)
            figure.add_trace(trace, row=row, col=column)
        if in_space[i]:
            axes = {"xaxis_title_text": panel.x_title, "yaxis_title_text": panel.y_title}
            figure.update_scenes(**axes, row=row, col=column)
        else:
            figure.update_xaxes(title_text=panel.x_title, type="category", row=row, col=column)
            figure.update_yaxes(title_text=panel.y_title, row=row, col=column)
    figure.update_layout(title=title, height=120 + 380 * rows, template="plotly_white")
    page: str = figure.to_html(include_plotlyjs=True, full_html=True)
    return page


def _panel(panel: Panel) -> Iterator[str]:
    """The shapes of a panel, in its own coordinates."""
    ys = [v for s in panel.series for v in s.y]
    is_space = any(s.kind == "points" for s in panel.series)
    from_zero = any(s.kind == "bars" for s in panel.series)
    low, high = _range(ys, from_zero=from_zero)
    xs = [v for s in panel.series for v in s.x]
    left, right = _range(xs) if is_space else (-0.5, max(len(panel.labels), 1) - 0.5)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 2), round(_HEIGHT - _BOTTOM - up, 2)

    yield _text(_WIDTH / 2, 14, panel.title, size=13, anchor="middle")
    yield _text(_WIDTH / 2, _HEIGHT - 8, panel.x_title, anchor="middle")
    yield _text(0, 0, panel.y_title, anchor="middle", at=f"translate(12 {_HEIGHT / 2}) rotate(-90)")
    for tick in range(_TICKS + 1):
        value = low + (high - low) * tick / _TICKS
        x, y = at(left, value)
        yield f'<path d="M{x} {y}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield _text(x - 5, y + 4, f"{value:.3g}", anchor="end")
    every = -(-len(panel.labels) // _LABELS) or 1
    for place, label in list(enumerate(panel.labels))[::every]:
        x, y = at(place, low)
        yield _text(x, y + 15, label, anchor="middle")
    for i, (hue, series) in enumerate(zip(_HUES, panel.series, strict=False)):
        if series.kind == "bars":
            yield from _bars(series, hue, at, low)
        elif series.kind == "line":
            yield from _line(series, hue, at)
        else:
            yield from _points(series, at)
        if len(panel.series) > 1:
            place = _LEFT + 8 + 130 * i
            yield f'<rect x="{place}" y="22" width="10" height="10" fill="{hue}"/>'
            yield _text(place + 14, 31, series.name)


def _bars(series: Series, hue: str, at: Place, low: float) -> Iterator[str]:
    width = 0.8 * (at(1, low)[0] - at(0, low)[0])
    for place, value in enumerate(series.y):
        (x, top), (_, bottom) = at(place, value), at(place, low)
        yield (
            f'<rect x="{x - width / 2:.2f}" y="{top}" width="{width:.2f}" '
            f'height="{bottom - top:.2f}" fill="{hue}" fill-opacity=".75"/>'
        )


def _line(series: Series, hue: str, at: Place) -> Iterator[str]:
    points = [at(place, value) for place, value in enumerate(series.y)]
    path = "L".join(f"{x} {y}" for x, y in points)
    yield f'<path d="M{path}" fill="none" stroke="{hue}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{hue}"/>'


def _points(series: Series, at: Place) -> Iterator[str]:
    far, near = _range(series.z)
    for x, y, z in sorted(zip(series.x, series.y, series.z, strict=True), key=lambda p: p[2]):
        across, up = at(x, y)
        share = (z - far) / (near - far)
        yield (
            f'<circle cx="{across}" cy="{up}" r="{2 + 2.5 * share:.2f}" '
            f'fill="{_HUES[0]}" fill-opacity="{0.25 + 0.6 * share:.2f}"/>'
        )


def _range(values: Sequence[float], *, from_zero: bool = False) -> tuple[float, float]:
    """The ends of an axis, a little beyond the values; never equal."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    if from_zero:
        low = min(low, 0.0)
    room = 0.08 * (high - low) or 0.5
    return (low if from_zero and low == 0 else low - room), high + room


def _text(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", at: str = ""
) -> str:
    moved = f' transform="{at}"' if at else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="#222"{moved}>'
        f"{escape(text)}</text>"
    )
