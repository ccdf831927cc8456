"""How results show themselves in a notebook: dicts and lists as before, with an HTML table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TypeVar

T = TypeVar("T")
_FEW = 20  # lists of recommendations that are shown


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table; all text in it is escaped.

    >>> html_table(["item"], [["<b>"]])
    '<table><thead><tr><th>item</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{told}<thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def metrics_table(
    metrics: Mapping[str, float], errors: Mapping[str, float], caption: str = ""
) -> str:
    """Metrics with their standard errors, where there are any."""
    rows = [
        (name, f"{value:.4f}", f"{errors[name]:.4f}" if name in errors else "")
        for name, value in metrics.items()
    ]
    return html_table(("metric", "mean", "standard error"), rows, caption)


class ShownDict(dict[str, object]):
    """A dict of results with an HTML of its own."""

    def __init__(self, values: Mapping[str, object], html: str) -> None:
        super().__init__(values)
        self._html = html

    def _repr_html_(self) -> str:
        return self._html


class ShownLists(list[list[tuple[str, float]]]):
    """Lists of recommendations, which show titles beside ids.

    Args:
        lists: per history pairs of item id and score.
        title_of: gives the title of an item by its id; asked for those that are shown alone.
        score_name: what the score is.
    """

    def __init__(
        self,
        lists: Iterable[list[tuple[str, float]]],
        title_of: Callable[[str], str],
        score_name: str,
    ) -> None:
        super().__init__(lists)
        self._titles = {item: title_of(item) for answer in self[:_FEW] for item, _ in answer}
        self._score_name = score_name

    def _repr_html_(self) -> str:
        head = ("", "item", "title", self._score_name.replace("_", "-"))
        tables = [
            html_table(
                head,
                [
                    (rank, item, self._titles.get(item, item), f"{score:.2f}")
                    for rank, (item, score) in enumerate(answer, start=1)
                ],
                f"history {i}" if len(self) > 1 else "",
            )
            for i, answer in enumerate(self[:_FEW], start=1)
        ]
        more = len(self) - _FEW
        return "".join(tables) + (f"<p>and {more} more</p>" if more > 0 else "")
