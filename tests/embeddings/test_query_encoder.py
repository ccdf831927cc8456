"""The encoder of what people type."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from letterrec.embeddings.content import embed
from letterrec.embeddings.query_encoder import QueryEncoder
from letterrec.errors import SettingsError

TEXTS = ["green tea", "a red lipstick", "garden hose"]


@pytest.mark.slow
def test_it_gives_what_items_get_and_remembers_it(tmp_path: Path) -> None:
    encoder = QueryEncoder({"encoder": "minilm"})
    found = encoder([*TEXTS, TEXTS[0]])
    expected = embed(TEXTS, cache=tmp_path)
    assert (found[:3] * expected).sum(1).min() > 0.999  # in bfloat16, where that is fast
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(found[3], found[0])
    several: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda i=i: several.append(encoder([TEXTS[i % 3], f"tea {i}"])))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(several) == 8
    assert np.array_equal(encoder(TEXTS), found[:3])


def test_what_was_embedded_before_needs_no_encoder() -> None:
    encoder = QueryEncoder({"encoder": "/nowhere"})
    encoder.remember(["tea"], np.array([[3.0, 4.0]], dtype=np.float32))
    assert encoder(["tea", "tea"]) == pytest.approx(np.array([[0.6, 0.8]] * 2))
    with pytest.raises(SettingsError, match="there is no such folder"):
        encoder(["hose"])
