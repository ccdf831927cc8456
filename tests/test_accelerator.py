"""What is trained, ranked and served has all its tensors on the accelerator, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accelerator import DEVICE, accelerator
from letterrec import api
from letterrec.config.loading import load_settings
from letterrec.evaluation import cold_start
from letterrec.serving.catalogue import items
from rings import QUICK, write_rings

GIVEN = "identifiers.source=given"
KINDS = {"rqt": QUICK, "tiger": [*QUICK, GIVEN]}

pytestmark = pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")


def test_the_accelerator_refuses_what_a_real_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with accelerator(monkeypatch):
        there = torch.ones(3, device=DEVICE)
        assert (there + 1).sum().item() == 6
        assert (there * 2).cpu().numpy().tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match=r"numpy\(\)"):
            there.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", KINDS)
def test_a_run_is_made_and_used_on_an_accelerator(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rings(tmp_path) / "Beauty"
    settings = load_settings(recipe, KINDS[recipe])
    assert all((cold_start, items))  # they ask for the device too, and must be there by now
    with accelerator(monkeypatch):
        run = api.fit(data, tmp_path / "run", settings, progress=False)
        engine = api.load(run, edits=False)
        lists = engine.recommend([["1", "2"], ["4"]], k=3, allowed=["5", "6", "7"])
        tested = api.evaluate(run, exclude_seen=True, progress=False)
    assert [sorted(item for item, _ in found) for found in lists] == [["5", "6", "7"]] * 2
    assert tested["users"] == 40
