"""The commands that make many runs: reproduce, sweep."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from letterrec.cli.common import RecipeOption, out, print_json
from letterrec.errors import SettingsError
from letterrec.studies import FigureName, Model, RecommenderName, TableName

OverridesOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="for all runs; repeatable"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]


def reproduce(
    what: Annotated[
        Literal[TableName, FigureName], typer.Argument(metavar="TABLE|FIGURE", help="of the paper")
    ],
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
    """Make one of the paper's tables or figures anew, our numbers beside the paper's.

    **table1**: LETTER against plain RQ-VAE and RQ-KMeans identifiers, SASRec and popularity.
    **table2**: the ablation, (0) to (4). **table3**: quantized embeddings in place of SASRec's.
    **table4**: codes shared with the CF neighbour.

    **figure3**: codes in targets and in what is generated. **figure6**: items over first codes,
    without and with diversity. **figure7**: code embeddings. **figure8**: the six settings. A
    figure is drawn for seed 0, as SVG, HTML and CSV beside the runs.

    Every row is trained with every seed, in a run folder of its own. The command can be killed and
    started again: what is finished is read, and what rows share is trained once. Differences come
    with a paired bootstrap over users.

    Examples:

        letterrec reproduce table1 --data data/ --seeds 3 --write docs/RESULTS.md

        letterrec reproduce table2 --data data/Beauty --recommender tiger

        letterrec reproduce table1 --data data/Instruments --set collaborative.source=given

        letterrec reproduce figure6 --data data/Beauty
    """
    settings = overrides or []
    match what:
        case "figure3" | "figure6" | "figure7" | "figure8":
            _draw(what, data, folder, recommender, settings, write, as_json)
        case _:
            _tabulate(what, data, folder, seeds, recommender, settings, write, as_json)


def _draw(
    figure: FigureName,
    data: str,
    folder: Path,
    recommender: RecommenderName,
    overrides: list[str],
    write: Path | None,
    as_json: bool,
) -> None:
    from letterrec.studies.figures import draw

    if write is not None:
        raise SettingsError(
            f"--write {write}: a figure is written as files of its own, below --out; leave it out"
        )
    files = draw(figure, data, folder, recommender=recommender, overrides=overrides)
    if as_json:
        print_json([str(file) for file in files])
    for file in [] if as_json else files:
        out.print(str(file), soft_wrap=True)


def _tabulate(
    table: TableName,
    data: str,
    folder: Path,
    seeds: int,
    recommender: RecommenderName,
    overrides: list[str],
    write: Path | None,
    as_json: bool,
) -> None:
    from letterrec.studies import rendering
    from letterrec.studies.reproduce import reproduce as make
    from letterrec.studies.sheets import write_section

    results = make(table, data, folder, seeds=seeds, recommender=recommender, overrides=overrides)
    for result in results:
        if write is not None:
            name = f"reproduce {table} {recommender} {result['data']}"
            write_section(write, name, rendering.section(result, _command()))
        if not as_json:
            rendering.figures_sheet(result).print(out)
            differences = rendering.differences_sheet(result)
            if differences is not None:
                differences.print(out)
    if as_json:
        print_json(results)


def sweep(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="as for `fit`")],
    folder: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="where the runs go, and are found again")
    ],
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=V,V,...",
            help="a setting and its values; repeatable; default: the grid of the paper's Fig. 8",
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="budgets; default: a quarter of the recipe's, then all"
        ),
    ] = None,
    model: Annotated[
        Model, typer.Option(help="`sasrec` tunes the baseline (`collaborative` settings)")
    ] = "generative",
    recipe: RecipeOption = None,
    overrides: OverridesOption = None,
    as_json: AsJson = False,
) -> None:
    """Try settings one at a time and see what they do to validation metrics.

    All settings are trained for few epochs first; the better half, and the recipe as it is, go on
    to the next budget. `--epochs 16` gives all of them 16. The command can be killed and started
    again; what is finished is read, and what runs share is trained once.

    Examples:

        letterrec sweep data/Beauty --out runs/sweep

        letterrec sweep data/Beauty --out runs/sweep --over tokenizer.alpha=0,0.02,0.1 --epochs 16

        letterrec sweep data/Beauty --out runs/sasrec --model sasrec
    """
    from letterrec.studies.sweep import sweep as make
    from letterrec.studies.sweep import sweep_sheet

    result = make(
        source,
        folder,
        over=over or [],
        epochs=_numbers(epochs or ""),
        model=model,
        recipe=recipe,
        overrides=overrides or [],
    )
    if as_json:
        print_json(result)
    else:
        sweep_sheet(result).print(out)
        out.print(f"all of it is in {folder / 'sweep.json'}", soft_wrap=True)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SettingsError(f"--epochs {text}: expected rising numbers, as in 4,16") from None


def _command() -> str:
    return shlex.join(["letterrec", *sys.argv[1:]])
