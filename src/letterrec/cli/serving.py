"""The commands that serve a run and edit its catalogue: serve, add-items, edit-items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from letterrec.cli.common import (
    AsJson,
    RayOption,
    RunArgument,
    WorkersOption,
    note,
    on_ray,
    out,
    print_json,
)
from letterrec.errors import MissingExtra, RequestError
from letterrec.progress import table


def serve(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN|NAME=RUN...", help="folder made by `fit`; several with names"),
    ],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="what clients must bring, one token a line; or set LETTERREC_TOKEN"
        ),
    ] = None,
    read_token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="tokens that may read and recommend alone; or set LETTERREC_READ_TOKEN",
        ),
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
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="a site whose pages may ask, as https://shop.example; repeatable"
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="under which a proxy has the server, as /rec")
    ] = "",
    drain: Annotated[
        float,
        typer.Option(min=0, max=3600, help="seconds from SIGTERM, not ready any more, to the stop"),
    ] = 0.0,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="processes that share the port and the memory")
    ] = 1,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=WEIGHT,...", help="shares of the requests that name no model"),
    ] = None,
) -> None:
    """Serve a run: recommendations over HTTP, and a page to see and try it at `/`.

    Several runs are served under names: `letterrec serve old=runs/a new=runs/b`. SIGHUP or
    `POST /v1/reload` takes over a run that was fitted anew in the same place; SIGHUP reads the
    tokens again too.
    """
    from letterrec import api

    try:
        from letterrec.serving.http import options as o
        from letterrec.serving.http.process import Loading
        from letterrec.serving.http.server import serve as serve_runs
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "fastapi", "serve") from None
    from letterrec.serving.opening import load_to_fork

    named = o.named_runs(runs)
    options = o.ServerOptions(
        host=host,
        port=port,
        token_file=token_file,
        read_token_file=read_token_file,
        queue=queue,
        max_batch=max_batch,
        deadline=deadline,
        body_limit=body_limit,
        read_only=read_only,
        allowed_hosts=allowed_host or (),
        origins=[o.checked_origin(origin) for origin in cors_origin or ()],
        root_path=o.checked_root(root_path),
        drain=drain,
        workers=workers,
        split=o.split_of(split or (), list(named)),
    )
    serve_runs(named, Loading(api.load, load_to_fork), options)


def add_items(
    run: RunArgument,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="a table (csv, parquet, jsonl, or a folder of Parquet parts) with item, title, "
            "further text",
        ),
    ],
    update: Annotated[
        bool,
        typer.Option("--update", help="give items that are there these titles, texts and images"),
    ] = False,
    ray: RayOption = None,
    workers: WorkersOption = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="which the items are of, new or known; their ids become NAME/ID"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add new items to a run by their text, without training; they can be recommended at once.

    In a run of several sources an item is of a domain: that of `--domain`, that of a column
    `domain`, or the one that its id begins with. A domain that the run does not have yet begins
    with these items.
    """
    from letterrec import api
    from letterrec.data.readers.item_tables import check_table
    from letterrec.serving.editing.editor import Editor
    from letterrec.serving.editing.edits import AddItems, PutItems
    from letterrec.serving.editing.placing import placed_table

    if domain is not None and not domain:
        raise RequestError("--domain is empty; expected a name")
    check_table(items)  # before the run is loaded for it
    engine = api.load(run)
    before = engine.catalogue.domain_names
    new, domains = placed_table(items, engine, domain)
    edit = (PutItems if update else AddItems)(new, domains=domains)
    with on_ray(ray, workers, run):
        Editor(engine).make(edit)
    catalogue = engine.catalogue
    added = {item: catalogue.identifiers.spelled(catalogue.rows[item]) for item in edit.items}
    for name in catalogue.domain_names[len(before) :]:
        note(f"domain {name!r} is new in this run; it had {', '.join(map(repr, before))}")
    if as_json:
        print_json({"items": added, "generation": catalogue.generation})
    else:
        rows = table("item", "title", "identifier", whole=("item", "identifier"))
        for item, identifier in added.items():
            rows.add_row(item, edit.items[item].title or item, identifier)
        out.print(rows)


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
    from letterrec.data.ids import split_ids
    from letterrec.serving.catalogue.states import State
    from letterrec.serving.editing.editor import Editor
    from letterrec.serving.editing.edits import SetStates

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
