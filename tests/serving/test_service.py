"""The encoder is loaded while requests are answered."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from letterrec import api
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
