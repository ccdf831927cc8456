"""The command line: parse, call, print. What is done lives in the modules that it calls."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

# Idle threads should sleep, not spin: on shared cores spinning costs a multiple of the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer
from rich.console import Console
from rich.table import Table

from letterrec.errors import LetterRecError, RequestError
from letterrec.studies.cli import app as studies

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Generative recommendation with learnable item tokenization (LETTER, CIKM'24).\n\n"
    "Start with `letterrec quickstart`; then `letterrec fit SOURCE --out RUN` on your own data.",
)
out = Console(highlight=False)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="folder made by `fit`")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")]


@app.command()
def quickstart(
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="where the run goes")
    ] = Path("runs/quickstart"),
) -> None:
    """Train on MovieLens-100k and show what comes out: minutes, no data of your own needed."""
    from letterrec import finished, pipeline
    from letterrec.config import load_settings
    from letterrec.report import print_inspection, print_metrics, print_recommendations
    from letterrec.run import Run

    settings = load_settings("quickstart")
    run = pipeline.fit("ml-100k", out_folder, settings, resume=(out_folder / "run.json").exists())
    engine = finished.load(out_folder)
    print_metrics(out, Run.open(out_folder).read_json("metrics"))
    print_inspection(out, finished.inspect(out_folder))
    print_recommendations(out, engine, list(engine.dataset.user_ids[:5]))
    out.print(f"\nThe run is in {run.folder}. Go on with:")
    user = engine.dataset.user_ids[0]
    out.print(f"  letterrec recommend {run.folder} --user {user}", soft_wrap=True)
    out.print(f"  letterrec evaluate {run.folder}", soft_wrap=True)


@app.command()
def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="a folder with interactions.parquet|csv|jsonl (user, item, timestamp) and items.* "
            "(item, title, further text); or LETTER's layout, RecBole atomic files, raw Amazon "
            "reviews, the Yelp Open Dataset, or `ml-100k`",
        ),
    ],
    out_folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="new or empty folder")],
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.toml", help="settings to start from")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="change a setting; repeatable"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in RUN")] = False,
) -> None:
    """Make a recommender from a catalogue and an interaction log.

    Steps: read, CF embeddings, content embeddings, tokenizer, identifiers, recommender,
    evaluation. Each is kept in RUN as soon as it is done; a run that was killed goes on with
    `--resume` and ends with the same result.

    Examples:

        letterrec fit my-data/ --out runs/first

        letterrec fit my-data/ --out runs/tiger --recipe tiger --set training.epochs=10

        letterrec fit Instruments/ --out runs/given --set identifiers.source=given
    """
    from letterrec import pipeline, processes
    from letterrec.config import load_settings
    from letterrec.report import print_metrics

    run = pipeline.fit(source, out_folder, load_settings(recipe, overrides), resume=resume)
    if processes.is_helper():
        return
    print_metrics(out, run.read_json("metrics"))
    out.print(f"The run is in {run.folder}", soft_wrap=True)


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[Literal["test", "valid"], typer.Option(help="held-out interactions")] = "test",
    beam: Annotated[int | None, typer.Option(min=1, help="beam width; default: the run's")] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="leave out what a user has, as in service")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="items held out by data.cold_share, added by text")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recall and NDCG by full ranking: every item competes, seen items included, as papers count.

    With `--exclude-seen`: the lists that `recommend` and `serve` give, without the items of the
    history. Figures of papers are no measure for these.

    With `--cold`: how items fare that were held out of training (`--set data.cold_share=0.05` when
    fitting) and are added by their text alone, beside content-kNN and popularity.
    """
    from letterrec import finished
    from letterrec.report import print_cold_metrics, print_metrics

    if cold:
        measured = finished.evaluate_cold(run, beam=beam)
        if as_json:
            _print_json(measured)
        else:
            print_cold_metrics(out, measured)
        return

    result = finished.evaluate(run, split=split, beam=beam, exclude_seen=exclude_seen)
    if as_json:
        _print_json(result)
    else:
        print_metrics(out, {split: result})


@app.command()
def recommend(
    run: RunArgument,
    user: Annotated[str | None, typer.Option(metavar="ID", help="a user of the run")] = None,
    history: Annotated[
        str | None, typer.Option(metavar="ID,ID,...", help="item ids, oldest first")
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="every user of the run; needs --out")
    ] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="for --all-users")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="items wanted")] = 10,
    instruction: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="what is wanted, in words (recommender lcrec)"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The next items for a user of the run, for any history, or for all users.

    With `--all-users` a killed command goes on where it was when it is run again.
    """
    from letterrec import finished
    from letterrec.report import recommendation_table

    given = (user is not None) + (history is not None) + all_users
    if given != 1 and not (given == 0 and instruction is not None):
        raise RequestError("give one of --user ID, --history ID,ID,... and --all-users")
    if all_users and instruction is not None:
        raise RequestError("--instruction goes with --user, --history or neither")
    if all_users != (out_file is not None):
        raise RequestError("--all-users and --out FILE.parquet go together")
    if out_file is not None:
        from letterrec.serving.batch import recommend_all

        n = recommend_all(finished.load(run), out_file, k=k)
        out.print(f"recommendations of {n} users are in {out_file}", soft_wrap=True)
        return
    engine = finished.load(run)
    items = engine.history_of(user) if user is not None else _split_ids(history or "")
    (answer,) = engine.recommend([items], k=k, instruction=instruction)
    if as_json:
        titles = engine.titles
        _print_json(
            {
                "user": user,
                "history": items,
                "items": [
                    {"item": i, "title": titles[i], "log_probability": score} for i, score in answer
                ],
            }
        )
    else:
        out.print(recommendation_table(engine, answer))


@app.command()
def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="what clients must bring; or set LETTERREC_TOKEN"),
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="queries that wait before a 503")] = 256,
    max_batch: Annotated[int, typer.Option(min=1, help="queries answered by one search")] = 64,
    deadline: Annotated[float, typer.Option(min=0.01, help="seconds before a 503")] = 2.0,
    body_limit: Annotated[int, typer.Option(min=1, help="bytes of a request")] = 1_000_000,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="no new items or other changes over HTTP")
    ] = False,
) -> None:
    """Serve a run: recommendations over HTTP, and a page to see and try it at `/`.

    SIGHUP or `POST /v1/reload` takes over a run that was fitted anew in the same place.
    """
    from letterrec.serving.server import serve as start

    start(
        run,
        host=host,
        port=port,
        token_file=token_file,
        queue=queue,
        max_batch=max_batch,
        deadline=deadline,
        body_limit=body_limit,
        read_only=read_only,
    )


@app.command()
def report(
    run: RunArgument,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="default: RUN/report.html")
    ] = None,
) -> None:
    """All tables and plots of a run as one HTML file that needs nothing else."""
    from letterrec.document import write_report

    out.print(f"the report is in {write_report(run, out_file)}", soft_wrap=True)


@app.command()
def export(
    run: RunArgument,
    out_folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="new or empty")],
) -> None:
    """The language model of a `lcrec` run as an ordinary Hugging Face folder.

    What was trained is merged into the weights, the codes are tokens of the tokenizer, and
    index.json has the tokens of every item: transformers, vLLM or SGLang load it without LetterRec.
    """
    from letterrec import finished
    from letterrec.recommenders.export import export_run

    export_run(finished.load(run), out_folder)
    out.print(f"the merged model is in {out_folder}", soft_wrap=True)


@app.command("add-items")
def add_items(
    run: RunArgument,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS", help="a table (csv, parquet, jsonl) with item, title, further text"
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Add new items to a run by their text, without training; they can be recommended at once."""
    from letterrec import finished
    from letterrec.data.tables import read_items
    from letterrec.serving.editing import AddItems, Editor

    new = read_items(items)
    engine = finished.load(run)
    Editor(engine).make(AddItems(new))
    catalogue = engine.catalogue
    added = {item: catalogue.identifiers.spelled(catalogue.rows[item]) for item in new}
    if as_json:
        _print_json({"items": added, "generation": catalogue.generation})
    else:
        table = Table("item", "title", "identifier", box=None)
        for item, identifier in added.items():
            table.add_row(item, new[item].title or item, identifier)
        out.print(table)


@app.command("edit-items")
def edit_items(
    run: RunArgument,
    block: Annotated[
        str, typer.Option(metavar="ID,ID,...", help="no longer recommend these, but show them")
    ] = "",
    delete: Annotated[
        str, typer.Option(metavar="ID,ID,...", help="neither recommend nor find these")
    ] = "",
    restore: Annotated[str, typer.Option(metavar="ID,ID,...", help="undo either")] = "",
) -> None:
    """Block, delete or restore items of a run."""
    from letterrec import finished
    from letterrec.serving.catalogue import State
    from letterrec.serving.editing import Editor, SetStates

    wanted: list[tuple[str, State]] = [
        *((item, "blocked") for item in _split_ids(block)),
        *((item, "deleted") for item in _split_ids(delete)),
        *((item, "active") for item in _split_ids(restore)),
    ]
    if not wanted:
        raise RequestError("give --block, --delete or --restore with item ids")
    if len(dict(wanted)) < len(wanted):
        raise RequestError("an item id comes twice; give each to one option, once")
    engine = finished.load(run)
    Editor(engine).make(SetStates(dict(wanted)))
    counts = (f"{engine.catalogue.count(s)} {s}" for s in ("active", "blocked", "deleted"))
    out.print(f"items of {run}: {', '.join(counts)}", soft_wrap=True)


@app.command()
def inspect(run: RunArgument, as_json: AsJson = False) -> None:
    """What the identifiers of a run look like."""
    from letterrec import finished
    from letterrec.report import print_inspection

    result = finished.inspect(run)
    if as_json:
        _print_json(result)
    else:
        print_inspection(out, result)


app.add_typer(studies)  # reproduce, sweep


@app.command()
def recipes() -> None:
    """The shipped recipes, each with its first line."""
    from letterrec.config import describe_recipes

    table = Table("recipe", "what it is", box=None)
    for name, line in describe_recipes().items():
        table.add_row(name, line)
    out.print(table)


@app.command()
def settings(
    section: Annotated[
        str | None,
        typer.Argument(metavar="SECTION", help="such as `training`, or a key; default: all"),
    ] = None,
) -> None:
    """Every setting: its default, what is allowed, and what it means.

    Change one with `letterrec fit ... --set KEY=VALUE`. A recipe changes the defaults of some:
    see `letterrec recipes`.
    """
    from rich.table import Column
    from rich.text import Text

    from letterrec.settings_reference import settings_reference

    for part in settings_reference(section):
        key = Column("key", no_wrap=True)  # to be copied whole
        table = Table(key, "default", "allowed", "meaning", box=None)
        for s in part.settings:
            table.add_row(*map(Text, (s.key, s.default, s.allowed or s.type, s.meaning)))
        out.print(Text.assemble((part.title, "bold"), f": {part.about}"))
        out.print(table)


def _split_ids(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    usage_error: Any = typer.BadParameter.__bases__[0]  # of the click that typer carries
    try:
        code = app(standalone_mode=False)
    except LetterRecError as error:
        _fail(str(error))
    except usage_error as error:
        message = error.format_message()
        if not message or len(sys.argv) == 1:  # no command: the help was asked for
            app(["--help"], standalone_mode=False)
            sys.exit(2)
        _fail(f"{message} Given: {' '.join(sys.argv[1:])}. Try: letterrec --help")
    except (KeyboardInterrupt, typer.Abort):
        print(
            "letterrec: interrupted; go on with the same command (fit: and --resume)",
            file=sys.stderr,
        )
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"letterrec: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
