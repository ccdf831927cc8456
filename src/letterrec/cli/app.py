"""The command line: parse, call, print. What is done lives in the modules that it calls."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

# Idle threads should sleep, not spin: on shared cores spinning costs a multiple of the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

import letterrec
from letterrec.cli.studies import app as studies
from letterrec.data.ids import split_ids
from letterrec.errors import LetterRecError, RequestError, SettingsError
from letterrec.progress import (
    Terminal,
    command_name,
    hide_types_of_flags,
    print_json,
    table,
    visible,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Generative recommendation with learnable item tokenization (LETTER, CIKM'24).\n\n"
    "Start with `letterrec quickstart`; then `letterrec fit SOURCE --out RUN` on your own data.",
)
out = Terminal()

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="folder made by `fit`")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"letterrec {letterrec.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """What goes before a command."""


@app.command()
def quickstart(
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="where the run goes")
    ] = Path("runs/quickstart"),
) -> None:
    """Train on MovieLens-100k and show what comes out: minutes, no data of your own needed."""
    from letterrec import api
    from letterrec.config.settings import load_settings
    from letterrec.reports.text import print_inspection, print_metrics, print_recommendations

    settings = load_settings("quickstart")
    run = api.fit("ml-100k", out_folder, settings, resume=(out_folder / "run.json").exists())
    engine = api.load(out_folder)
    print_metrics(out, run.metrics())
    print_inspection(out, api.inspect(out_folder))
    print_recommendations(out, engine, list(engine.dataset.user_ids[:5]))
    out.print()
    out.print(f"The run is in {run.folder}. Go on with:", soft_wrap=True)
    user = engine.dataset.user_ids[0]
    for command in (["recommend", str(run.folder), "--user", user], ["evaluate", str(run.folder)]):
        out.print(f"  {command_name()} {shlex.join(command)}", soft_wrap=True)


@app.command()
def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="a folder with interactions.parquet|csv|tsv|jsonl (user, item, timestamp) and "
            "items.* (item, title, further text), or one such table; or LETTER's layout, RecBole "
            "atomic files, Amazon, Yelp, MovieLens, Steam, RetailRocket, H&M, Yoochoose, Last.fm, "
            "Gowalla, Foursquare, Goodreads, Book-Crossing or MIND as published; or `ml-100k`",
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
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=COLUMN,...",
            help="what the columns of SOURCE are called: user, item, timestamp, rating, title; "
            "repeatable",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in RUN")] = False,
) -> None:
    """Make a recommender from a catalogue and an interaction log.

    Steps: read, CF embeddings, content embeddings, tokenizer, identifiers, recommender,
    evaluation. Each is kept in RUN as soon as it is done; a run that was killed goes on with
    `--resume` and ends with the same result.

    Users and items with fewer than 5 interactions are left out, repeatedly (the 5-core);
    `--set data.k_core=0` keeps all of them. RUN/settings.toml lists every setting with its value,
    `letterrec recipes` lists what `--recipe` takes, docs/DATA.md describes the formats.

    Examples:

        letterrec fit my-data/ --out runs/first

        letterrec fit log.csv --out runs/log --columns user=visitorid,item=sku,timestamp=when

        letterrec fit my-data/ --out runs/tiger --recipe tiger --set training.epochs=10

        letterrec fit Instruments/ --out runs/given --set identifiers.source=given
    """
    from letterrec import api
    from letterrec.config.settings import load_settings
    from letterrec.data.splits import returning_share
    from letterrec.reports.text import print_metrics, returning_note
    from letterrec.training import distributed

    settings = load_settings(recipe, [*(overrides or []), *_column_settings(columns or [])])
    run = api.fit(source, out_folder, settings, resume=resume)
    if not distributed.is_main():
        return
    print_metrics(out, run.metrics())
    if note := returning_note(returning_share(run.dataset().held_out("valid"))):
        out.print(note, soft_wrap=True)
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
    from letterrec import api
    from letterrec.reports.text import print_cold_metrics, print_metrics

    if cold:
        measured = api.evaluate_cold(run, beam=beam)
        if as_json:
            print_json(measured)
        else:
            print_cold_metrics(out, measured)
        return

    result = api.evaluate(run, split=split, beam=beam, exclude_seen=exclude_seen)
    if as_json:
        print_json(result)
    else:
        print_metrics(out, {split: result})


@app.command()
def recommend(
    run: RunArgument,
    user: Annotated[str | None, typer.Option(metavar="ID", help="a user of the run")] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="ID,ID,...",
            help="item ids, oldest first; an id with a comma in quotes, as in a CSV: '\"a, b\",c'",
        ),
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="one item of the history, as it is; repeatable"),
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="every user of the run; needs --out")
    ] = False,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="for --all-users: .parquet, .csv or .jsonl"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="write over a file that is there already")
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="items wanted")] = 10,
    instruction: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="what is wanted, in words (recommender lcrec)"),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="also what is in the history")
    ] = False,
    unknown: Annotated[
        Literal["skip", "refuse"],
        typer.Option(help="ids of the history that the catalogue does not have"),
    ] = "skip",
    as_json: AsJson = False,
) -> None:
    """The next items for a user of the run, for any history, or for all users.

    With `--all-users` a killed command goes on where it was when it is run again.
    """
    from letterrec import api
    from letterrec.reports.text import recommendation_table, returning_note
    from letterrec.serving.queries import Query, ids_of, left_out, listed

    given = (user is not None) + (history is not None) + bool(item) + all_users
    if given != 1 and not (given == 0 and instruction is not None):
        raise RequestError(
            "give one of --user ID, --history ID,ID,..., --item ID (repeatable) and --all-users"
        )
    if all_users and instruction is not None:
        raise RequestError("--instruction goes with --user, --history, --item or none of them")
    if all_users != (out_file is not None):
        raise RequestError("--all-users and --out FILE.parquet go together")
    if out_file is not None:
        from letterrec.serving.bulk import format_of, recommend_all

        format_of(out_file)
    given_items = item or split_ids(history or "", "--history")
    if history is not None and not given_items:
        raise RequestError(f"--history {history!r} has no item id; expected ID,ID,...")
    engine = api.load(run)
    if not include_seen and (note := returning_note(engine.returning)):
        _note(note)
    if out_file is not None:
        n = recommend_all(engine, out_file, k=k, exclude_seen=not include_seen, force=force)
        if as_json:
            print_json({"users": n, "file": str(out_file)})
        else:
            out.print(f"recommendations of {n} users are in {out_file}", soft_wrap=True)
        return
    known = engine.catalogue.rows
    items = engine.history_of(user) if user is not None else ids_of(given_items, "history", known)
    query = engine.prepare(
        Query(items, k, not include_seen, instruction=instruction, unknown=unknown)
    )
    (answer,) = engine.answer_ids([query])
    if query.skipped:
        _note(f"skipped {listed(list(query.skipped))}: {engine.not_among()}")
    if not answer:
        _note(f"no item is left to recommend: {left_out(engine.catalogue, query)}")
    if as_json:
        titles = engine.titles
        print_json(
            {
                "user": user,
                "history": items,
                "skipped": list(query.skipped),
                "items": [
                    {"item": i, "title": titles[i], "log_probability": score} for i, score in answer
                ],
            }
        )
    elif answer:
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
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="a name that clients may call it by; repeatable"),
    ] = None,
) -> None:
    """Serve a run: recommendations over HTTP, and a page to see and try it at `/`.

    SIGHUP or `POST /v1/reload` takes over a run that was fitted anew in the same place.
    """
    from letterrec import api
    from letterrec.serving.http.server import serve as start

    start(
        run,
        api.load,
        host=host,
        port=port,
        token_file=token_file,
        queue=queue,
        max_batch=max_batch,
        deadline=deadline,
        body_limit=body_limit,
        read_only=read_only,
        allowed_hosts=allowed_host or (),
    )


@app.command()
def report(
    run: RunArgument,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="default: RUN/report.html")
    ] = None,
) -> None:
    """All tables and plots of a run as one HTML file that needs nothing else."""
    from letterrec.reports.html import write_report

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
    from letterrec import api

    api.export(run, out_folder)
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
    from letterrec import api
    from letterrec.data.readers.tables import read_items
    from letterrec.serving.catalogue.edits import AddItems, Editor

    new = read_items(items)
    engine = api.load(run)
    Editor(engine).make(AddItems(new))
    catalogue = engine.catalogue
    added = {item: catalogue.identifiers.spelled(catalogue.rows[item]) for item in new}
    if as_json:
        print_json({"items": added, "generation": catalogue.generation})
    else:
        rows = table("item", "title", "identifier", whole=("item", "identifier"))
        for item, identifier in added.items():
            rows.add_row(item, new[item].title or item, identifier)
        out.print(rows)


@app.command("edit-items")
def edit_items(
    run: RunArgument,
    block: Annotated[
        list[str] | None,
        typer.Option(metavar="ID,ID,...", help="no longer recommend these, but show them"),
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option(metavar="ID,ID,...", help="neither recommend nor find these"),
    ] = None,
    restore: Annotated[
        list[str] | None, typer.Option(metavar="ID,ID,...", help="undo either")
    ] = None,
) -> None:
    """Block, delete or restore items of a run.

    The options are repeatable. An id with a comma stands in quotes, as in a CSV file:
    `--block '"Tyler, The Creator",Other'`.
    """
    from letterrec import api
    from letterrec.serving.catalogue.edits import Editor, SetStates
    from letterrec.serving.catalogue.items import State

    given: tuple[tuple[str, list[str] | None, State], ...] = (
        ("--block", block, "blocked"),
        ("--delete", delete, "deleted"),
        ("--restore", restore, "active"),
    )
    wanted: list[tuple[str, State]] = [
        (item, state)
        for option, texts, state in given
        for text in texts or ()
        for item in split_ids(text, option)
    ]
    if not wanted:
        raise RequestError("give --block, --delete or --restore with item ids")
    if len(dict(wanted)) < len(wanted):
        raise RequestError("an item id comes twice; give each to one option, once")
    engine = api.load(run)
    Editor(engine).make(SetStates(dict(wanted)))
    counts = (f"{engine.catalogue.count(s)} {s}" for s in ("active", "blocked", "deleted"))
    out.print(f"items of {run}: {', '.join(counts)}", soft_wrap=True)


@app.command()
def inspect(run: RunArgument, as_json: AsJson = False) -> None:
    """What the identifiers of a run look like."""
    from letterrec import api
    from letterrec.reports.text import print_inspection

    result = api.inspect(run)
    if as_json:
        print_json(result)
    else:
        print_inspection(out, result)


app.add_typer(studies)  # reproduce, sweep


@app.command()
def recipes() -> None:
    """The shipped recipes, each with its first line."""
    from letterrec.config.settings import describe_recipes

    rows = table("recipe", "what it is", whole=("recipe",))
    for name, line in describe_recipes().items():
        rows.add_row(name, line)
    out.print(rows)


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
    from letterrec.config.reference import settings_reference

    for part in settings_reference(section):
        rows = table("key", "default", "allowed", "meaning", whole=("key",))
        for s in part.settings:
            rows.add_row(s.key, s.default, s.allowed or s.type, s.meaning)
        out.print(f"{part.title}: {part.about}", soft_wrap=True)
        out.print(rows)


def _column_settings(columns: list[str]) -> list[str]:
    """``user=userId,item=movieId`` as settings ``data.columns.ROLE``."""
    pairs = [pair.partition("=") for text in columns for pair in text.split(",")]
    for role, _, column in pairs:
        if not role.strip() or not column.strip():
            raise SettingsError(
                f"--columns {','.join(columns)}: expected ROLE=COLUMN,..., as in "
                "user=userId,item=movieId,timestamp=timestamp"
            )
    return [f"data.columns.{r.strip()}={json.dumps(c.strip())}" for r, _, c in pairs]


def _note(message: str) -> None:
    print(f"letterrec: {visible(' '.join(message.split()))}", file=sys.stderr)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks
    command = typer.main.get_command(app)
    hide_types_of_flags(command)
    usage_error: Any = typer.BadParameter.__bases__[0]  # of the click that typer carries
    try:
        code = command(standalone_mode=False)
        sys.stdout.flush()
    except LetterRecError as error:
        _fail(str(error))
    except usage_error as error:
        message = error.format_message().replace("Value error, ", "")  # pydantic's words
        if not message or len(sys.argv) == 1:  # no command: the help was asked for
            command(["--help"], standalone_mode=False)
            sys.exit(2)
        _fail(f"{message} Given: {shlex.join(sys.argv[1:])}. Try: letterrec --help")
    except (KeyboardInterrupt, typer.Abort):
        print(
            "letterrec: interrupted; go on with the same command (fit: and --resume)",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)  # as typer and rich do where they notice
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    line = re.sub(r"\s*\n\s*", " ", message.strip())
    print(f"letterrec: {visible(line)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
