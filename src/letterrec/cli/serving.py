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
    on_ray,
    out,
    print_json,
)
from letterrec.errors import RequestError
from letterrec.progress import table


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
    ray: RayOption = None,
    workers: WorkersOption = None,
    as_json: AsJson = False,
) -> None:
    """Add new items to a run by their text, without training; they can be recommended at once."""
    from letterrec import api
    from letterrec.data.readers.plain import read_items
    from letterrec.serving.catalogue.edits import AddItems, Editor

    new = read_items(items)
    engine = api.load(run)
    with on_ray(ray, workers, run):
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
