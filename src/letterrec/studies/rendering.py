"""A reproduced table, rendered for the terminal and as a section of a Markdown file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from letterrec.studies.rows import ROWS, TABLES
from letterrec.studies.sheets import Sheet, figure, heading


def figures_sheet(result: Mapping[str, Any]) -> Sheet:
    """Our rows, each with the paper's figures below.

    Args:
        result: for one data set, from `reproduce.reproduce`.
    """
    table = TABLES[result["table"]]
    metrics = [m for m in table.metrics if any(m in row["mean"] for row in result["rows"])]
    whole_runs = table.until == "evaluation"
    columns = [result["data"], *(heading(m) for m in metrics), *["min per run"][:whole_runs]]
    sheet = Sheet(f"{result['title']}: {result['data']}", columns)
    order = list(table.rows)
    there = [*result["rows"], *result["unavailable"]]
    for row in sorted(there, key=lambda row: order.index(row["row"])):
        if "reason" in row:
            sheet.rows.append([row["label"], *["-"] * len(metrics), *[""][:whole_runs]])
        else:
            spread = row["spread"] or {}
            cells = [figure(row["mean"].get(m), spread.get(m)) for m in metrics]
            minutes = f"{row['seconds'] / 60:.1f}" if row["seconds"] else ""
            sheet.rows.append([row["label"], *cells, *[minutes][:whole_runs]])
        if row["paper"]:
            printed = [figure(row["paper"].get(m)) for m in metrics]
            sheet.rows.append([f"  paper: {row['paper_row']}", *printed, *[""][:whole_runs]])
    sheet.note = _note(result)
    return sheet


def differences_sheet(result: Mapping[str, Any]) -> Sheet | None:
    """The differences with their intervals; None where the table has none."""
    if not result["differences"]:
        return None
    columns = ["difference", "metric", "ours", "in %", "95 % interval", "p"]
    sheet = Sheet("Paired bootstrap over users", columns)
    for d in result["differences"]:
        relative = "" if d["relative"] is None else f"{d['relative']:+.1%}"
        sheet.rows.append(
            [
                f"{ROWS[d['row']].label} - {ROWS[d['against']].label}",
                heading(d["metric"]),
                f"{d['mean']:+.4f}",
                relative,
                f"{d['low']:+.4f} to {d['high']:+.4f}",
                f"{d['p']:.4f}" if d["p"] >= 0.001 else "< 0.001",
            ]
        )
    sheet.note = (
        f"{result['differences'][0]['users']} users, each the mean over its seeds; the interval "
        "speaks of other users, not of other seeds."
    )
    return sheet


def section(result: Mapping[str, Any], command: str) -> str:
    """A data set's table as Markdown, with the command that makes it."""
    made = result["made"]
    lines = [f"## {result['title']}: {result['data']}, recommender `{result['recommender']}`", ""]
    if made:
        machine = made["machine"]
        where = machine["accelerator"] or machine["processor"]
        lines += [
            f"Last run made on {made['started'][:10]} at commit `{made['commit']}` on {where}, "
            f"{machine['threads']} thread(s): `{command}`",
            "",
        ]
    lines.append(figures_sheet(result).markdown())
    differences = differences_sheet(result)
    if differences is not None:
        lines.append(differences.markdown())
    return "\n".join(lines)


def _note(result: Mapping[str, Any]) -> str:
    seeds = result["seeds"]
    parts = [f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"]
    if result["table"] != "table4":
        parts.append("test split, full ranking")
    if not result["items_have_text"]:
        parts.append("items have no text: identifiers are learned from CF embeddings alone")
    parts += [f"not made: {row['label']} ({row['reason']})" for row in result["unavailable"]]
    return "; ".join(parts)
