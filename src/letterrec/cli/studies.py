"""The commands that make many runs: reproduce, sweep."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from letterrec.cli.common import RecipeOption, out, print_json
from letterrec.errors import SettingsError
from letterrec.studies import FigureName, PrunerName, RecommenderName, SamplerName, TableName

_COLUMNS = 80  # of a table that has words in it

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
        Path, typer.Option("--out", metavar="FOLDER", help="where the study and the runs go")
    ],
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=SPACE",
            help="a setting and its values: `V,V,V`, `LOW..HIGH`, `LOW..HIGH:log` or "
            "`LOW..HIGH:STEP`; repeatable; default: what the recommender is best tuned by",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.toml|paper",
            help="the same in a file; `paper`: the ranges of the paper's Fig. 8",
        ),
    ] = None,
    sampler: Annotated[SamplerName, typer.Option(help="who chooses what is tried")] = "tpe",
    pruner: Annotated[
        PrunerName, typer.Option(help="who stops trials that fall behind, by epoch")
    ] = "median",
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="how many, the recipe among them; default: 20, of a grid all"),
    ] = None,
    one_at_a_time: Annotated[
        bool,
        typer.Option(
            "--one-at-a-time", help="each value with all else as in the recipe, as in Fig. 8"
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="processes that work on the study")] = 1,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="seconds after which no trial is begun")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with a study, or work on it beside others")
    ] = False,
    recipe: RecipeOption = None,
    overrides: OverridesOption = None,
    as_json: AsJson = False,
) -> None:
    """Tune settings on validation, with Optuna.

    The recipe as it is, transitions included, is the first trial. What trials share (embeddings,
    identifiers) is learned once. A trial that falls behind at its epochs is stopped. The best
    settings are printed and kept as a recipe file; test metrics are shown of the best and of the
    recipe alone.

    The study is `FOLDER/study.db`: `optuna-dashboard sqlite:///FOLDER/study.db` shows it. With
    `--resume` the same command goes on where it stopped; started while another one runs, it works
    beside it. A trial whose process was killed is tried again.

    Examples:

        letterrec sweep data/Beauty --out runs/sweep --trials 40 --workers 2

        letterrec sweep data/Beauty --out runs/hgn --recipe hgn

        letterrec sweep data/Beauty --out runs/rate --over training.learning_rate=5e-4..5e-3:log

        letterrec sweep data/Beauty --out runs/figure8 --sampler grid
    """
    from letterrec.studies.findings import sweep_sheet
    from letterrec.studies.sweep import sweep as make

    result = make(
        source,
        folder,
        over=over or [],
        space=space,
        recipe=recipe,
        overrides=overrides or [],
        sampler=sampler,
        pruner=pruner,
        trials=trials,
        one_at_a_time=one_at_a_time,
        workers=workers,
        timeout=timeout,
        resume=resume,
    )
    if as_json:
        print_json(result)
        return
    sweep_sheet(result).print(out, width=_COLUMNS)
    for name, metrics in result["test"].items():
        shown = ", ".join(f"{metric} {metrics[metric]:.4f}" for metric in ("recall@10", "ndcg@10"))
        out.print(f"test, {name}: {shown}", soft_wrap=True)
    fit = ["letterrec", "fit", source, "--out", "RUN"]
    out.print(f"all of it is in {folder / 'sweep.json'} and {result['study']}", soft_wrap=True)
    out.print(f"the best: {shlex.join([*fit, '--recipe', result['recipe']])}", soft_wrap=True)
    out.print(f"or: {shlex.join(fit)} {result['set']}", soft_wrap=True)


def _command() -> str:
    return shlex.join(["letterrec", *sys.argv[1:]])
