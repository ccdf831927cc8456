"""A run in service: its encoder is loaded beside requests, its reloads are counted once."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

import pytest

from letterrec import api
from letterrec.errors import RunError
from letterrec.serving.editing.editor import Editor
from letterrec.serving.service import Service


def test_what_is_loaded_beside_requests_is_never_looked_through(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, many = gc.get_threshold(), 1_000_000
    full = []
    kept: list[list[int]] = []

    def load(editor: Editor) -> None:
        kept.extend([i] for i in range(many))

    def note(phase: str, about: dict[str, int]) -> None:
        if about["generation"] == 2 and kept:
            full.append(phase)

    monkeypatch.setattr(Editor, "preload", load)
    gc.callbacks.append(note)
    try:
        service = Service(lambda: api.load(own_run), preload=True)
        frozen = gc.get_freeze_count()
        service.close()
        assert not full
        assert gc.get_freeze_count() > frozen + many // 2 or frozen > many
        assert gc.get_threshold() == before
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()


def test_a_reload_is_counted_and_logged_by_the_process_that_was_asked(
    own_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(lambda: api.load(own_run))

    def seen() -> tuple[list[tuple[str, str]], dict[str, float]]:
        events = [(record.message, record.levelname) for record in caplog.records]
        (family,) = service.metrics.reloads.collect()
        counts = {s.labels["result"]: s.value for s in family.samples if s.name.endswith("_total")}
        return events, counts

    with caplog.at_level(logging.INFO, logger="letterrec.serving"):
        asyncio.run(service.reload(follows=True))
        assert seen() == ([], {})
        asyncio.run(service.reload())
        assert seen() == ([("reloaded", "INFO")], {"done": 1.0})
        (own_run / "run.json").write_text("{", "utf-8")
        with pytest.raises(RunError):
            asyncio.run(service.reload(follows=True))
        assert seen()[0][1:] == [("reload not followed", "ERROR")]
        with pytest.raises(RunError):
            asyncio.run(service.reload())
        assert seen()[0][2:] == [("reload refused", "ERROR")]
        assert seen()[1] == {"done": 1.0, "refused": 1.0}
    service.close()
