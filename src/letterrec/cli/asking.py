"""The commands that ask a finished run: evaluate, compare, recommend, inspect, report, export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

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
    whole_numbers,
    words,
)
from letterrec.errors import RequestError


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
    by: Annotated[
        Literal["history", "popularity", "user"] | None,
        typer.Option(
            help="also by group: length of the history, frequency of the held-out item, "
            "how much of the user is in training"
        ),
    ] = None,
    cuts: Annotated[
        str | None, typer.Option(metavar="K,K,...", help="further k of Recall@k and the others")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="further ones: mrr, hit_rate")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="rank a sample of so many; default: the run's, or all")
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="items and targets of this one alone; default: all"),
    ] = None,
    behaviour: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="ask for this one, such as buy; default: data.targets"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recall and NDCG by full ranking: every item competes, seen items included, as papers count.

    Each figure has its standard error: how far it would vary with other users. What the top 10 of
    all users are like stands below: coverage, the share of the items that are in any of them, and
    novelty, how unlikely their items are among the interactions of training (in bits).

    With `--exclude-seen`: the lists that `recommend` and `serve` give, without the items of the
    history. Figures of papers are no measure for these.

    With `--by history`, `--by popularity` or `--by user`: where it does well and where not. Users
    of short histories, items that are rare, and, where the split is by time, users who came after
    training are groups of their own.

    Of a run of several sources each domain stands below, all items competing; with `--domain NAME`
    only the items of that one compete, for the users whose held-out item is of it.

    Of a run with several behaviours to be predicted each stands below, asked for as any of them;
    with `--behaviour NAME` that one alone is asked for: the first of it that each user has in the
    split, be it a target or context.

    With `--cold`: how items fare that were held out of training (`--set data.cold_share=0.05` when
    fitting) and are added by their text alone, beside content-kNN and popularity.

    Examples:

        letterrec evaluate runs/first --by user

        letterrec evaluate runs/first --cuts 20,50 --metrics mrr --json

        letterrec evaluate runs/large --users 10000
    """
    from letterrec import api
    from letterrec.evaluation.protocol import Evaluation
    from letterrec.reports.text import print_cold_metrics, print_metrics

    if cold and (by or cuts or metrics or users or domain is not None or behaviour is not None):
        raise RequestError(
            "--by, --cuts, --metrics, --users, --domain and --behaviour do not go with --cold"
        )
    if cold:
        measured = api.evaluate_cold(run, beam=beam)
        if as_json:
            print_json(measured)
        else:
            print_cold_metrics(out, measured)
        return

    result = api.evaluate(
        run,
        split=split,
        beam=beam,
        exclude_seen=exclude_seen,
        by=by,
        cuts=whole_numbers(cuts or "", "--cuts"),
        metrics=words(metrics or ""),
        users=users,
        domain=domain,
        behaviour=behaviour,
    )
    if as_json:
        print_json(result)
    else:
        results: Evaluation = {}
        results[split] = result
        print_metrics(out, results)


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="folder made by `fit`")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="another, of the same data")],
    split: Annotated[Literal["test", "valid"], typer.Option(help="held-out interactions")] = "test",
    as_json: AsJson = False,
) -> None:
    """What the second run gains over the first, and whether that is more than luck.

    Every user is ranked by both runs, so that the interval of the difference is paired: much
    narrower than those of two means. It says what other users would give, not other seeds. Runs of
    other data, of another split or of another sample of users are refused.

    Example:

        letterrec compare runs/tiger runs/letter --json
    """
    from letterrec import api
    from letterrec.reports.text import print_comparison

    found = api.compare(first, second, split)
    if as_json:
        print_json(found)
    else:
        print_comparison(out, found)


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
    from letterrec.reports.text import recommendation_table, returning_note
    from letterrec.serving.queries import Query, ids_of, left_out, listed

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
        from letterrec.serving.bulk import format_of, recommend_all

        format_of(out_file, parted=ray is not None)
    given_items = item or split_ids(history or "", "--history")
    if history is not None and not given_items:
        raise RequestError(f"--history {history!r} has no item id; expected ID,ID,...")
    among = attributes(where, "--where")
    engine = api.load(run)
    if not include_seen and (returning := returning_note(engine.returning)):
        note(returning)
    if out_file is not None:
        folder, file = run.absolute(), out_file.absolute()
        with on_ray(ray, workers, file):
            n = recommend_all(
                engine,
                file,
                k=k,
                exclude_seen=not include_seen,
                behaviour=behaviour,
                force=force,
                where=among,
                domain=domain,
                load=partial(api.load, folder) if ray else None,
            )
        if as_json:
            print_json({"users": n, "file": str(out_file)})
        else:
            out.print(f"recommendations of {n} users are in {out_file}", soft_wrap=True)
        return
    known = engine.catalogue.rows
    items = engine.history_of(user) if user is not None else ids_of(given_items, "history", known)
    of_each = words(behaviours or "") if behaviours is not None else None
    query = engine.prepare(
        Query(
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
    )
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
                "user": user,
                "history": items,
                "skipped": list(query.skipped),
                "note": told,
                "next_behaviour": engine.behaviour_odds(query),
                "items": [
                    {"item": i, "title": titles[i], score_name: score} for i, score in answer
                ],
            }
        )
    elif answer:
        out.print(recommendation_table(engine, answer))
        if odds := engine.behaviour_odds(query):
            said = ", ".join(f"{name} {share:.0%}" for name, share in odds.items())
            out.print(f"the next item comes by: {said}", soft_wrap=True)


def inspect(run: RunArgument, as_json: AsJson = False) -> None:
    """What the identifiers of a run look like; of a baseline, its weights."""
    from letterrec import api
    from letterrec.reports.text import print_inspection

    result = api.inspect(run)
    if as_json:
        print_json(result)
    else:
        print_inspection(out, result)


def report(
    run: RunArgument,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="default: RUN/report.html")
    ] = None,
) -> None:
    """All tables and plots of a run as one HTML file that needs nothing else."""
    from letterrec.reports.html import write_report

    out.print(f"the report is in {write_report(run, out_file)}", soft_wrap=True)


def export(
    run: RunArgument,
    out_folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="new or empty")],
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="those of items and users, as Parquet with ids")
    ] = False,
) -> None:
    """The language model of a `lcrec` run, or the T5 of a `tiger` run, as an ordinary Hugging Face
    folder; or the embeddings of items and users.

    What was trained is merged into the weights, the codes are tokens of the tokenizer, and
    index.json has the tokens of every item: transformers, vLLM or SGLang load it without LetterRec.
    Of `tiger`, transformers' T5ForConditionalGeneration does.

    With `--embeddings`, of any run that has some: items.content.parquet and users.content.parquet,
    items.collaborative.parquet and users.collaborative.parquet, each with ids and vectors.
    """
    from letterrec import api

    api.export(run, out_folder, embeddings=embeddings)
    what = "embeddings are" if embeddings else "model is"
    out.print(f"the {what} in {out_folder}", soft_wrap=True)
