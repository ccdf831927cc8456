"""The model card of a run on the Hugging Face Hub, written from what the run says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from letterrec.config.settings import Settings, is_baseline
from letterrec.data.splits import SPLITS
from letterrec.evaluation.results import Evaluation
from letterrec.runs.run import Run

_COLUMNS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
_METHOD = " The method is [LETTER](https://arxiv.org/abs/2405.07314)'s."


def model_card(run: Run, name: str) -> str:
    """A README with the front matter that the Hub reads: metrics, settings, origin, how to use it.

    Args:
        run: has a trained recommender.
        name: of the repository, ``USER/NAME``.

    Raises:
        RunError: it is not measured yet, or its metrics are damaged.
    """
    from huggingface_hub import EvalResult, ModelCardData

    measured = None if "refitted" in run.about else run.metrics()
    dataset = run.dataset()
    generative = ["generative-recommendation", "semantic-ids"]
    about = ModelCardData(
        library_name="letterrec",
        tags=["recommendation", *([] if is_baseline(run.settings) else generative)],
        model_name=name.partition("/")[2],
        eval_results=[
            EvalResult(
                task_type="recommendation",
                task_name="sequential recommendation",
                dataset_type=dataset.name,
                dataset_name=dataset.name,
                dataset_split="test",
                metric_type=metric,
                metric_value=round(value, 6),
            )
            for metric, value in measured["test"]["metrics"].items()
        ]
        if measured is not None
        else None,
    )
    parts = [
        f"---\n{about.to_yaml()}\n---",
        f"# {name.partition('/')[2]}",
        f"{_kind(run.settings)}, trained on {dataset.name}: {dataset.n_users:,} users, "
        f"{dataset.n_items:,} items, {dataset.n_interactions:,} interactions."
        f"{'' if is_baseline(run.settings) else _METHOD}",
        f'```python\nimport letterrec\n\nengine = letterrec.load("{name}")\n'
        f'engine.recommend([["{dataset.item_ids[0]}"]], k=10)\n```',
        _metrics(measured) if measured is not None else _refitted(),
        _origin(run),
        f"## Settings\n\n```toml\n{run.settings.to_toml().strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _kind(settings: Settings) -> str:
    kind = "baseline, which scores all items" if is_baseline(settings) else "generative recommender"
    return f"A {kind}, of LetterRec (`{settings.recommender.name}`)"


def _metrics(measured: Evaluation) -> str:
    lines = [f"| split | users | {' | '.join(_COLUMNS)} |", f"|---|---|{'---|' * len(_COLUMNS)}"]
    for split in SPLITS:
        result = measured[split]
        lines.append(_row(split, str(result["users"]), result["metrics"]))
        if "standard_errors" in result:
            lines.append(_row("standard error", "", result["standard_errors"]))
        lines.append(_row("popularity", "", measured["popularity"][split]))
    how = "Full ranking of the whole catalogue for each user's held-out interaction"
    beam = measured["test"].get("beam")
    return "\n".join(
        [
            "## Metrics",
            "",
            f"{how}{f', by beam search of width {beam}' if beam else ''}.",
            "",
            *lines,
        ]
    )


def _row(name: str, users: str, figures: Mapping[str, float]) -> str:
    return f"| {name} | {users} | {' | '.join(f'{figures[c]:.4f}' for c in _COLUMNS)} |"


def _refitted() -> str:
    return (
        "## Metrics\n\nTrained on all interactions: nothing is held out to measure it by. "
        "Epochs and strengths were chosen on an earlier run of the same settings."
    )


def _origin(run: Run) -> str:
    about = run.about
    rows = {
        "LetterRec": f"{about['letterrec']}" + (f" ({about['commit']})" if about["commit"] else ""),
        "run format": about["format"],
        "seed": about["seed"],
        "begun": about["started"],
        "seconds": round(sum(s["seconds"] for s in about["stages"].values() if "seconds" in s)),
        "processor": about["machine"].get("processor"),
        "accelerator": about["machine"].get("accelerator") or "none",
        "Python": about["python"],
        **about["packages"],
    }
    lines = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(["## Origin", "", "| | |", "|---|---|", *lines])
