"""The commands `letterrec reproduce` and `letterrec sweep`: parse, call, print."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from letterrec.studies.rows import RecommenderName, TableName

app = typer.Typer()
out = Console(highlight=False)

OverridesOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="for all runs; repeatable"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]


@app.command()
def reproduce(
    table: Annotated[TableName, typer.Argument(help="of the paper")],
    data: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="a data source, or a folder of them (`fit --help`)"),
    ],
    folder: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="where the runs go, and are found again")
    ] = Path("runs/reproduce"),
    seeds: Annotated[int, typer.Option(min=1, help="runs per row, with seeds 0, 1, ...")] = 3,
    recommender: Annotated[RecommenderName, typer.Option(help="that the rows share")] = "rqt",
    overrides: OverridesOption = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="put the tables into their sections of this file"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make one of the paper's tables anew, our figures beside the paper's.

    **table1**: LETTER against plain RQ-VAE and RQ-KMeans identifiers, SASRec and popularity.
    **table2**: the ablation, (0) to (4). **table3**: quantized embeddings in place of SASRec's.
    **table4**: codes shared with the CF neighbour.

    Every row is trained with every seed, in a run folder of its own. The command can be killed and
    started again: what is finished is read, and what rows share is trained once. Differences come
    with a paired bootstrap over users.

    Examples:

        letterrec reproduce table1 --data data/ --seeds 3 --write docs/RESULTS.md

        letterrec reproduce table2 --data data/Beauty --recommender tiger

        letterrec reproduce table1 --data data/Instruments --set collaborative.source=given
    """
    from letterrec.studies import tables
    from letterrec.studies.reproduce import reproduce as make
    from letterrec.studies.sheets import write_section

    results = make(
        table, data, folder, seeds=seeds, recommender=recommender, overrides=overrides or []
    )
    for result in results:
        if write is not None:
            name = f"reproduce {table} {recommender} {result['data']}"
            write_section(write, name, tables.section(result, _command()))
        if not as_json:
            tables.figures_sheet(result).print(out)
            differences = tables.differences_sheet(result)
            if differences is not None:
                differences.print(out)
    if as_json:
        print(json.dumps(results, ensure_ascii=False))


def _command() -> str:
    return shlex.join(["letterrec", *sys.argv[1:]])
