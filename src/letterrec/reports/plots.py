"""Plots as SVG in the text of a report: bars, lines and points, a panel each.

Colours are the page's own, by name, so that plots are readable on light and on dark ground. A panel
is small, and many stand side by side; it needs no script and no library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from letterrec.reports.markup import safe

HUES = tuple(f"var(--l{i})" for i in range(6))

_WIDTH, _HEIGHT = 320, 200  # of a panel, in its own pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 42  # around what is drawn
_DOTS = 40  # points of a line that are still marked one by one

Place = Callable[[float, float], tuple[float, float]]  # values -> pixels


@dataclass(frozen=True)
class Bars:
    """Bars of one colour, one per label of the panel.

    Attributes:
        name: what they are, read beside their values.
        values: one per label.
        hue: a CSS colour.
        errors: half the length of the whisker on each bar; empty where there are none.
    """

    name: str
    values: Sequence[float]
    hue: str
    errors: Sequence[float] = ()


@dataclass(frozen=True)
class Point:
    """How a point of a scatter plot looks.

    Attributes:
        radius: in pixels.
        hue: a CSS colour.
        words: HTML that is shown where it is pointed at.
    """

    radius: float
    hue: str
    words: str


def bars(
    title: str,
    labels: Sequence[str],
    series: Sequence[Bars],
    x_title: str = "",
    even: float | None = None,
) -> str:
    """A panel of bars, those of one label side by side.

    Args:
        title: above the panel.
        labels: below the bars; a line break splits one into two lines.
        series: the bars.
        x_title: below the labels.
        even: where a dashed line is drawn across; None: nowhere.
    """
    ends = [v + e for s in series for v, e in zip(s.values, _errors(s), strict=True)]
    low, high = 0.0, max([*ends, even or 0.0, 1e-9])
    at = _scale((-0.5, len(labels) - 0.5), (low, high))
    inside = [*_rules(at, -0.5, _ticks(low, high))]
    for place, text in _thinned(labels):
        x, y = at(place, low)
        for line, part in enumerate(text.split("\n")):
            inside.append(_text(x, y + 13 + 12 * line, part, "middle"))
    inside += [
        shape for i, s in enumerate(series) for shape in _bars(s, i, len(series), labels, at)
    ]
    if even is not None:
        (left, y), (right, _) = at(-0.5, even), at(len(labels) - 0.5, even)
        inside.append(f'<path class="even" d="M{left} {y}H{right}"/>')
    return _panel(title, x_title, inside)


def lines(title: str, points: Sequence[tuple[float, float]], hue: str, x_title: str) -> str:
    """A panel with one line through points of growing first coordinate."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    (left, right), (low, high) = _range(xs), _range(ys)
    at = _scale((left, right), (low, high))
    inside = [*_rules(at, left, _ticks(low, high))]
    for tick in _ticks(left, right, whole=True):
        x, y = at(tick, low)
        inside.append(_text(x, y + 14, f"{tick:g}", "middle"))
    places = [at(x, y) for x, y in points]
    path = "L".join(f"{x} {y}" for x, y in places)
    inside.append(f'<path class="line" stroke="{hue}" d="M{path}"/>')
    if len(points) < _DOTS:
        for (x, y), (a, b) in zip(places, points, strict=True):
            said = f"<title>{safe(x_title)} {a:g}: {b:.4g}</title>"
            inside.append(f'<circle cx="{x}" cy="{y}" r="2.6" fill="{hue}">{said}</circle>')
    return _panel(title, x_title, inside)


def scatter(
    title: str,
    points: Sequence[Point],
    where: NDArray[np.float32],
    x_title: str,
    y_title: str,
) -> str:
    """A panel of points, at float32 ``(n_points, 2)``."""
    (left, right), (low, high) = _range(where[:, 0].tolist()), _range(where[:, 1].tolist())
    at = _scale((left, right), (low, high), height=_WIDTH)
    inside = [*_rules(at, left, _ticks(low, high))]
    for tick in _ticks(left, right):
        x, y = at(tick, low)
        inside.append(_text(x, y + 14, f"{tick:.3g}", "middle"))
    by_hue: dict[str, list[str]] = {}  # the hue once for all its points: there are many
    for point, (a, b) in zip(points, where.tolist(), strict=True):
        x, y = at(a, b)
        said = f"<title>{point.words}</title>"
        circle = f'<circle cx="{x}" cy="{y}" r="{point.radius:.1f}">{said}</circle>'
        by_hue.setdefault(point.hue, []).append(circle)
    inside += [
        f'<g fill="{hue}" fill-opacity=".7">{"".join(circles)}</g>'
        for hue, circles in by_hue.items()
    ]
    return _panel(title, f"{x_title}, upwards {y_title}", inside, height=_WIDTH)


def _panel(title: str, x_title: str, inside: Sequence[str], height: int = _HEIGHT) -> str:
    below = _text((_LEFT + _WIDTH - _RIGHT) / 2, height - 4, x_title, "middle") if x_title else ""
    return (
        f"<figure><figcaption>{safe(title)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{safe(title)}">'
        f"{''.join(inside)}{below}</svg></figure>"
    )


def _bars(series: Bars, number: int, of: int, labels: Sequence[str], at: Place) -> Iterator[str]:
    room = at(1, 0)[0] - at(0, 0)[0]
    width = 0.84 * room / of
    for place, (value, error) in enumerate(zip(series.values, _errors(series), strict=True)):
        (middle, top), (_, bottom) = at(place, value), at(place, 0)
        left = middle - 0.42 * room + number * width
        said = f"{series.name} {labels[place]}: {value:.4g}".replace("\n", " ").strip()
        yield (
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{bottom - top:.1f}" '
            f'fill="{series.hue}"><title>{safe(said)}</title></rect>'
        )
        if error:
            x = round(left + width / 2, 1)
            high, low = at(place, value + error)[1], at(place, max(0.0, value - error))[1]
            yield f'<path class="whisker" d="M{x - 3} {high}h6M{x} {high}V{low}M{x - 3} {low}h6"/>'


def _errors(series: Bars) -> Sequence[float]:
    return series.errors or [0.0] * len(series.values)


def _scale(across: tuple[float, float], up: tuple[float, float], height: int = _HEIGHT) -> Place:
    """Values to pixels of a panel."""
    (left, right), (low, high) = across, up

    def at(x: float, y: float) -> tuple[float, float]:
        share_x, share_y = (x - left) / (right - left), (y - low) / (high - low)
        return (
            round(_LEFT + share_x * (_WIDTH - _LEFT - _RIGHT), 1),
            round(height - _BOTTOM - share_y * (height - _TOP - _BOTTOM), 1),
        )

    return at


def _rules(at: Place, left: float, ticks: Sequence[float]) -> Iterator[str]:
    """Horizontal lines, and the values that they stand for."""
    for tick in ticks:
        x, y = at(left, tick)
        yield f'<path class="grid" d="M{x} {y}H{_WIDTH - _RIGHT}"/>'
        yield _text(x - 5, y + 4, f"{tick:.4g}", "end")


def _thinned(labels: Sequence[str], most: int = 8) -> list[tuple[int, str]]:
    every = -(-len(labels) // most) or 1
    return list(enumerate(labels))[::every]


def _ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """Round values between two, at most about ``most``.

    >>> _ticks(0, 0.23), _ticks(1, 30, whole=True)
    ([0.0, 0.05, 0.1, 0.15, 0.2], [10.0, 20.0, 30.0])
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, a little beyond the values; never equal."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{safe(text)}</text>'
