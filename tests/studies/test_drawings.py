"""Figures as SVG, HTML and CSV: what is in them, and where."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from letterrec.studies.drawings import Panel, Series, as_csv, as_html, as_svg

SVG = "{http://www.w3.org/2000/svg}"
BARS = Panel(
    "use & <abuse>",
    "codes",
    "share",
    [Series("wanted", "bars", [0.5, 0.25, 0.0]), Series("made", "line", [0.75, 0.2, 0.05])],
    ["a", "b", "c"],
)
CLOUD = Panel("cloud", "PC 1", "PC 2", [Series("codes", "points", [1, 2], [-1, 1], [5, 9])])


def shapes(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(SVG + tag))


def test_bars_are_as_high_as_their_values() -> None:
    bars = [r for r in shapes(as_svg("t", [BARS]), "rect") if r.get("fill-opacity")]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert len(bars) == 3
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)
    assert heights[2] == 0
    feet = {round(float(b.attrib["y"]) + float(b.attrib["height"]), 1) for b in bars}
    assert len(feet) == 1


def test_a_line_passes_the_tops_of_bars_of_the_same_values() -> None:
    same = [Series("bars", "bars", [1, 3, 2]), Series("line", "line", [1, 3, 2])]
    svg = as_svg("t", [replace(BARS, series=same)])
    tops = [float(r.attrib["y"]) for r in shapes(svg, "rect") if r.get("fill-opacity")]
    dots = [float(c.attrib["cy"]) for c in shapes(svg, "circle")]
    assert dots == pytest.approx(tops)


def test_points_lie_where_their_coordinates_say_and_the_nearest_are_the_darkest() -> None:
    far, near = shapes(as_svg("t", [CLOUD]), "circle")
    assert float(far.attrib["cx"]) < float(near.attrib["cx"])
    assert float(far.attrib["cy"]) > float(near.attrib["cy"])  # upwards
    assert float(far.attrib["fill-opacity"]) < float(near.attrib["fill-opacity"])


def test_words_are_escaped_and_panels_stand_side_by_side() -> None:
    svg = as_svg("a < b", [BARS, CLOUD, CLOUD], columns=2)
    texts = [text.text for text in shapes(svg, "text")]
    assert "use & <abuse>" in texts
    assert {"a", "b", "c", "wanted", "made"} <= set(texts)
    places = [g.attrib["transform"] for g in shapes(svg, "g")]
    assert places == ["translate(0 30)", "translate(380 30)", "translate(0 290)"]


def test_values_that_are_equal_or_missing_have_axes_too() -> None:
    flat = replace(BARS, series=[Series("flat", "line", [2.0, 2.0, 2.0])])
    empty = replace(BARS, series=[], labels=[])
    assert "NaN" not in as_svg("t", [flat, empty]).replace("nan", "NaN")


def test_csv_has_every_value() -> None:
    lines = as_csv([BARS, CLOUD]).splitlines()
    assert lines[0] == "panel,series,x,y,z"
    assert "use & <abuse>,made,a,0.75," in lines
    assert "cloud,codes,-1,1,5" in lines
    assert len(lines) == 1 + 6 + 2


def test_html_is_whole_and_loads_nothing() -> None:
    page = as_html("t", [BARS, CLOUD])
    assert "scatter3d" in page
    assert not re.search(r"<(?:script|link)[^>]+(?:src|href)=.https?:", page)
