"""The commands that make a run, and list what it can be made with: quickstart, fit, align, refit,
recipes, settings.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from letterrec.cli.common import (
    AsJson,
    RayOption,
    RecipeOption,
    RunArgument,
    WorkersOption,
    command_name,
    on_ray,
    out,
    print_json,
)
from letterrec.errors import RequestError, SettingsError
from letterrec.progress import table


def quickstart(
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="where the run goes")
    ] = Path("runs/quickstart"),
) -> None:
    """Train on MovieLens-100k and show what comes out: minutes, no data of your own needed."""
    from letterrec import api
    from letterrec.config.loading import load_settings
    from letterrec.reports.text import print_inspection, print_metrics, print_recommendations
    from letterrec.runs.layout import holds_run

    settings = load_settings("quickstart")
    run = api.fit("ml-100k", out_folder, settings, resume=holds_run(out_folder))
    engine = api.load(out_folder)
    print_metrics(out, run.metrics())
    print_inspection(out, api.inspect(out_folder))
    print_recommendations(out, engine, list(engine.dataset.user_ids[:5]))
    out.print()
    out.print(f"The run is in {run.folder}. Go on with:", soft_wrap=True)
    user = engine.dataset.user_ids[0]
    for command in (["recommend", str(run.folder), "--user", user], ["evaluate", str(run.folder)]):
        out.print(f"  {command_name()} {shlex.join(command)}", soft_wrap=True)


def fit(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="a folder with interactions.parquet|csv|tsv|jsonl (user, item, timestamp) and "
            "items.* (item, title, further text), or one such table; or LETTER's layout, RecBole "
            "atomic files, Amazon, Yelp, MovieLens, Steam, RetailRocket, H&M, Yoochoose, Last.fm, "
            "Gowalla, Foursquare, Goodreads, Book-Crossing or MIND as published; or `ml-100k`. "
            "Several are learned together, each a domain, called as its folder is or NAME=SOURCE",
        ),
    ],
    out_folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="new or empty folder")],
    recipe: RecipeOption = None,
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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="train nothing: check everything, estimate time and memory per stage"
        ),
    ] = False,
    ray: RayOption = None,
    workers: WorkersOption = None,
    as_json: AsJson = False,
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

        letterrec fit Beauty/ Books=old-shop/ --out runs/both --set data.join_users=true

        letterrec fit my-data/ --out runs/first --dry-run

        letterrec fit /shared/log --out /shared/runs/first --ray 10.0.0.1:6379
    """
    from letterrec import api
    from letterrec.config.loading import load_settings
    from letterrec.reports.estimate import print_estimate
    from letterrec.reports.text import print_metrics, returning_note
    from letterrec.training import distributed

    settings = load_settings(recipe, [*(overrides or []), *_column_settings(columns or [])])
    if dry_run and (ray is not None or workers is not None):
        raise RequestError("--dry-run is about this machine alone; leave out --ray and --workers")
    if as_json and not dry_run:
        raise RequestError("--json goes with --dry-run; `evaluate RUN --json` has a run's metrics")
    if dry_run:
        estimated = api.estimate(source, out_folder, settings, resume)
        if as_json:
            print_json(estimated)
        else:
            print_estimate(out, estimated, out_folder)
        return
    if ray is None and workers is None:
        run = api.fit(source, out_folder, settings, resume=resume)
    else:
        from letterrec.cluster.fitting import fit as fit_on_ray

        with on_ray(ray, workers, out_folder):
            run = fit_on_ray(source, out_folder, settings, resume=resume, workers=workers)
    if not distributed.is_main():
        return
    print_metrics(out, run.metrics())
    if note := returning_note(run.dataset().returning):
        out.print(note, soft_wrap=True)
    out.print(f"The run is in {run.folder}", soft_wrap=True)


def refit(
    run: RunArgument,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="a newer log, in any format that `fit` takes; repeatable, one for each domain",
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", metavar="RUN2", help="new folder; default: RUN-refit")
    ] = None,
    weights: Annotated[
        Literal["nothing", "run"] | None,
        typer.Option(help="where training starts; default: nothing, and with --data the run's"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="how many; default: as validation chose for RUN")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the refit in RUN2")] = False,
) -> None:
    """Train on all interactions, those held out too, what goes into service.

    `fit` holds back everybody's latest interactions, to choose and to measure by them: what it
    makes has never seen them. `refit` trains the recommender on everything, for as many epochs and
    with transitions as strong as validation chose for RUN. Identifiers, tokenizer and embeddings
    stay. Nothing is left to measure RUN2 by: `evaluate` refuses it.

    With `--data` it learns a newer log, as in a job of every night: items that RUN knows keep their
    identifiers, new ones get theirs from their texts, as `add-items` does, and training goes on
    from RUN's weights, for a third of the epochs. What is blocked, deleted or added stays so.

    RUN stays as it is. Serve RUN2 in its place. docs/RETRAINING.md has it by example.

    Examples:

        letterrec refit runs/first

        letterrec refit runs/first --data log-until-today/ --out runs/today
    """
    from letterrec import api

    made = api.refit(
        run, out_folder, data=data or None, weights=weights, epochs=epochs, resume=resume
    )
    if (told := made.about.get("refitted")) is not None:
        start = "nothing" if told["weights"] == "nothing" else f"the weights of {run}"
        length = f"epochs: {told['epochs']}, from {start}" if told["epochs"] else "computed at once"
        n = made.dataset().n_interactions
        out.print(f"trained on all {n} interactions ({length})", soft_wrap=True)
    out.print(f"The run is in {made.folder}", soft_wrap=True)


def align(
    run: RunArgument,
    out_folder: Annotated[
        Path | None, typer.Option("--out", metavar="RUN2", help="new folder; default: RUN-aligned")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="change a setting of preference, transitions, wishes, evaluation; repeatable",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the alignment in RUN2")
    ] = False,
) -> None:
    """Post-train a finished run's recommender on preferences (DPO), into a new run.

    At one place of each user's training history, the recommender's own beam offers items. What was
    chosen there is preferred to the others: its log-probability is to gain on theirs, compared with
    the weights of RUN, which are the reference. Validation selects the epoch; where none is better
    than RUN, the weights stay as they were, and a line says so. Transitions are then chosen and
    metrics taken anew; identifiers and all else are those of RUN, which stays as it is.

    `letterrec settings preference` lists how it is done. The recommender has to be rqt. A fit from
    nothing with preferences at the end is `letterrec fit SOURCE --recipe rqt-dpo`.
    docs/PREFERENCES.md has it by example.

    Examples:

        letterrec align runs/first

        letterrec align runs/first --out runs/dpo --set preference.beta=0.5

        letterrec compare runs/first runs/first-aligned
    """
    from letterrec import api
    from letterrec.reports.text import print_metrics

    made = api.align(run, out_folder, overrides, resume=resume)
    print_metrics(out, made.metrics())
    out.print(f"The run is in {made.folder}", soft_wrap=True)


def recipes() -> None:
    """The shipped recipes, each with its first line."""
    from letterrec.config.loading import describe_recipes

    rows = table("recipe", "what it is", whole=("recipe",))
    for name, line in describe_recipes().items():
        rows.add_row(name, line)
    out.print(rows)


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
    seen: dict[str, str] = {}
    for role, _, column in pairs:
        if not role.strip() or not column.strip():
            raise SettingsError(
                f"--columns {','.join(columns)}: expected ROLE=COLUMN,..., as in "
                "user=userId,item=movieId,timestamp=timestamp"
            )
        if seen.setdefault(role.strip(), column) != column:
            raise SettingsError(
                f"--columns {','.join(columns)}: {role.strip()!r} is given twice, as "
                f"{seen[role.strip()]!r} and {column!r}; give each role one column"
            )
    return [f"data.columns.{r.strip()}={json.dumps(c.strip())}" for r, _, c in pairs]
