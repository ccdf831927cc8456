"""The command that asks a finished run for items: recommend."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from letterrec.cli.common import (
    AsJson,
    RayOption,
    RunArgument,
    WorkersOption,
    attributes,
    note,
    on_ray,
    out,
    print_json,
    words,
)
from letterrec.errors import RequestError

if TYPE_CHECKING:
    from letterrec.serving.engine import Engine
    from letterrec.serving.queries import Query


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
        typer.Option(
            "--out",
            metavar="FILE",
            help="for --all-users: .parquet, .csv or .jsonl; with --ray a name without an ending "
            "is a folder of Parquet parts",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="write over a file that is there already")
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="items wanted")] = 10,
    instruction: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="what is wanted, in words; for runs that follow wishes"),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="only items of this attribute, a column of the catalogue; repeatable: any of "
            "several values of one, all of several attributes",
        ),
    ] = None,
    behaviour: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="what is asked for, such as buy; default: data.targets"),
    ] = None,
    behaviours: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...", help="by which behaviour each item came into the history"
        ),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="also what is in the history")
    ] = False,
    unknown: Annotated[
        Literal["skip", "refuse"],
        typer.Option(help="ids of the history that the catalogue does not have"),
    ] = "skip",
    ray: RayOption = None,
    workers: WorkersOption = None,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="only items of this one, of a run of several sources"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The next items for a user of the run, for any history, or for all users.

    With `--instruction "a lipstick, no red"` those that answer a wish in words: beside a history,
    or without one from the whole catalogue.

    With `--all-users` a killed command goes on where it was when it is run again.

    A run on interactions of several behaviours may be asked for any of them:

        letterrec recommend runs/shop --user 42 --behaviour buy

        letterrec recommend runs/shop --history 17,4 --behaviours view,buy
    """
    from letterrec import api
    from letterrec.data.ids import split_ids
    from letterrec.reports.text import returning_note
    from letterrec.serving.bulk import format_of, recommend_all
    from letterrec.serving.queries import Query, ids_of

    given = (user is not None) + (history is not None) + bool(item) + all_users
    if given != 1 and not (given == 0 and instruction is not None):
        raise RequestError(
            "give one of --user ID, --history ID,ID,..., --item ID (repeatable) and --all-users"
        )
    if all_users and instruction is not None:
        raise RequestError("--instruction goes with --user, --history, --item or none of them")
    if behaviours is not None and history is None and not item:
        raise RequestError(
            "--behaviours goes with --history or --item: one for each of their items"
        )
    if all_users != (out_file is not None):
        raise RequestError("--all-users and --out FILE.parquet go together")
    if ray is not None and not all_users:
        raise RequestError("--ray goes with --all-users")
    if out_file is not None:
        format_of(out_file, parted=ray is not None)
    given_items = item or split_ids(history or "", "--history")
    if history is not None and not given_items:
        raise RequestError(f"--history {history!r} has no item id; expected ID,ID,...")
    among = attributes(where, "--where")
    engine = api.load(run)
    if not include_seen and (returning := returning_note(engine.dataset.returning)):
        note(returning)
    if out_file is not None:
        with on_ray(ray, workers, out_file.absolute()):
            n = recommend_all(
                engine,
                out_file.absolute(),
                k=k,
                exclude_seen=not include_seen,
                behaviour=behaviour,
                force=force,
                where=among,
                domain=domain,
                load=partial(api.load, run.absolute()) if ray else None,
            )
        if as_json:
            print_json({"users": n, "file": str(out_file)})
        else:
            out.print(f"recommendations of {n} users are in {out_file}", soft_wrap=True)
        return
    known = engine.catalogue.rows
    items = engine.history_of(user) if user is not None else ids_of(given_items, "history", known)
    of_each = words(behaviours or "") if behaviours is not None else None
    query = Query(
        items,
        k,
        not include_seen,
        instruction=instruction,
        unknown=unknown,
        user=user,
        where=among,
        behaviours=of_each if user is None else engine.behaviours_of(user),
        behaviour=behaviour,
        domain=domain,
    )
    _answer(engine, query, as_json)


def _answer(engine: Engine, asked: Query, as_json: bool) -> None:
    """Print the items for one query, and on stderr what there is to be said of them."""
    from letterrec.reports.text import recommendation_table
    from letterrec.serving.queries import left_out, listed

    query = engine.prepare(asked)
    (answer,) = engine.answer_ids([query])
    if told := engine.note_on(query):
        note(told)
    if query.skipped:
        note(f"skipped {listed(list(query.skipped))}: {engine.not_among()}")
    if not answer:
        note(f"no item is left to recommend: {left_out(engine.catalogue, query)}")
    if as_json:
        titles, score_name = engine.titles, engine.score_name
        print_json(
            {
                "user": asked.user,
                "history": asked.history,
                "skipped": list(query.skipped),
                "note": told,
                "next_behaviour": engine.behaviour_odds([query])[0],
                "items": [
                    {"item": i, "title": titles[i], score_name: score} for i, score in answer
                ],
            }
        )
    elif answer:
        out.print(recommendation_table(engine, answer))
        if odds := engine.behaviour_odds([query])[0]:
            said = ", ".join(f"{name} {share:.0%}" for name, share in odds.items())
            out.print(f"the next item comes by: {said}", soft_wrap=True)
