"""The commands that look at a finished run: evaluate, compare, inspect, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from letterrec.cli.common import AsJson, RunArgument, out, print_json, whole_numbers, words
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
    from letterrec.evaluation.results import Evaluation
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
