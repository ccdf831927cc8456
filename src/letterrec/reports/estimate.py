"""What a fit would take, in the terminal."""

from __future__ import annotations

from pathlib import Path

from letterrec.progress import Terminal, table
from letterrec.stages.dry_run import Estimate, StageEstimate


def print_estimate(out: Terminal, estimate: Estimate, folder: Path) -> None:
    """A row per stage, then the whole."""
    rows = table("stage", "time", "memory, at least", "", whole=("stage",))
    for stage in estimate["stages"]:
        is_left = stage["state"] == "to do"
        took = _time(stage["seconds"]) if is_left else stage["state"]
        memory = _memory(stage["peak_bytes"]) if is_left and stage["peak_bytes"] else ""
        rows.add_row(stage["stage"], took, memory, _trained(stage))
    peak = _memory(estimate["peak_bytes"]) if estimate["peak_bytes"] else ""
    rows.add_row("in all", _time(estimate["seconds"]), peak, "")
    out.print(rows)
    threads = f"{estimate['threads']} thread{'s' * (estimate['threads'] > 1)}"
    tables, disk = _memory(estimate["tables_bytes"]), _memory(estimate["disk_bytes"])
    out.print(
        f"{estimate['data']}: {estimate['users']} users, {estimate['items']} items, "
        f"{estimate['interactions']} interactions; on {estimate['device']} with {threads}. Files "
        f"with a row per item {tables}, the run {disk} and its checkpoints. Measured in "
        f"{_time(estimate['measured_seconds'])}; {folder} is as it was.",
        soft_wrap=True,
    )


def _trained(stage: StageEstimate) -> str:
    told = [
        f"{t['epochs']} epochs at most, {t['steps']} steps of {1000 * t['seconds_per_step']:.3g} "
        f"ms, {t['validations']} validations of {t['seconds_per_validation']:.2g} s; "
        f"{t['parameters']:,} parameters, weights and optimizer "
        f"{_memory(t['weights_bytes'] + t['optimizer_bytes'])}"
        for t in stage["trainings"]
    ]
    on_gpu = stage["device_bytes"]
    return "; ".join([*told, *([f"{_memory(on_gpu)} of the GPU"] if on_gpu else [])])


def _time(seconds: float) -> str:
    """A duration, as precise as an estimate is.

    >>> _time(0.02), _time(8.31), _time(75), _time(7330)
    ('0.0 s', '8.3 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _memory(n: int) -> str:
    """Bytes, in MiB or GiB.

    >>> _memory(5_000_000), _memory(3 * 2**30)
    ('4.8 MiB', '3.0 GiB')
    """
    mib = n / 2**20
    if mib >= 1024:
        return f"{mib / 1024:.1f} GiB"
    return f"{mib:.1f} MiB" if mib < 10 else f"{mib:.0f} MiB"
