"""Tables of a study, for the terminal and for a Markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from letterrec.errors import RunError
from letterrec.files import write_text
from letterrec.progress import Terminal


@dataclass
class Sheet:
    """A table: columns, rows of as many cells, and a line below."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""

    def print(self, out: Terminal, width: int | None = None) -> None:
        """Show it in the terminal.

        Args:
            out: the terminal.
            width: columns, at most; the last one of the table, words, is then wrapped, as is the
                line below. None: as many as the terminal has.
        """
        out.print()
        out.print(self.title, style="bold", soft_wrap=True)
        table = Table(box=None)
        for i, column in enumerate(self.columns):
            is_words = i == 0 or (width is not None and i + 1 == len(self.columns))
            table.add_column(column, justify="left" if is_words else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        columns = None if width is None else min(width, out.width)
        out.print(table, width=columns)
        for line in self.note.splitlines():
            out.print(line, width=columns, soft_wrap=columns is None)

    def markdown(self) -> str:
        """The same as Markdown, without a heading."""
        lines = [list(self.columns), ["---"] + ["---:"] * (len(self.columns) - 1)]
        lines += [[cell.strip().replace("|", "\\|") or " " for cell in row] for row in self.rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{text}\n\n{self.note}\n" if self.note else f"{text}\n"


def figure(mean: float | None, spread: float | None = None) -> str:
    """A metric with its standard deviation over seeds.

    >>> figure(0.06721, 0.00048), figure(0.5), figure(None)
    ('0.0672 ±.0005', '0.5000', '')
    """
    if mean is None:
        return ""
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ±{f'{spread:.4f}'.lstrip('0')}"


def heading(metric: str) -> str:
    """A metric's name as a column has it.

    >>> heading("ndcg@10"), heading("cf_overlap")
    ('NDCG@10', 'cf_overlap')
    """
    name, at, cut = metric.partition("@")
    names: Mapping[str, str] = {"ndcg": "NDCG", "recall": "Recall"}
    return f"{names.get(name, name)}{at}{cut}"


def write_section(path: Path, name: str, text: str) -> None:
    """Put a section into a Markdown file, in place of the one with the same name.

    The section stands between two comments that hold its name; what else is in the file stays.

    Raises:
        RunError: the file has the first of the comments and not the second.
    """
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = path.read_text("utf-8") if path.exists() else ""
    before, found, rest = old.partition(begin)
    if not found:
        write_text(path, f"{old.rstrip()}\n\n{section}\n".lstrip())
        return
    _, ended, after = rest.partition(end)
    if not ended:
        raise RunError(f"{path} has {begin!r} but not {end!r}; restore it, or remove the first")
    write_text(path, f"{before}{section}{after}")
