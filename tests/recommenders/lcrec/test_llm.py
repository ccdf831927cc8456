"""Finding and loading language models, and what is said where that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from letterrec.errors import SettingsError
from letterrec.recommenders.lcrec import llm


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a model of some 700 billion parameters, with a tokenizer."""
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("models") / "huge"
    config = LlamaConfig(hidden_size=32768, intermediate_size=65536, num_hidden_layers=80)
    config.save_pretrained(folder)
    llm.load("smollm2").tokenizer.save_pretrained(folder)
    return folder


def test_the_packaged_model_knows_some_english() -> None:
    model = llm.load("smollm2")
    prompt = model.tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        best = model.network(**prompt).logits[0, -1].argmax()
    assert model.tokenizer.decode(best).strip() == "Paris"
    assert llm.load("smollm2") is model


def test_a_copy_shares_weights_and_keeps_changes_to_itself() -> None:
    model = llm.load("smollm2")
    copied = model.copied()
    own = copied.get_input_embeddings()
    assert own is not model.network.get_input_embeddings()
    assert own.weight is model.network.get_input_embeddings().weight


def test_too_large_a_model_is_refused_before_it_is_read(huge: Path) -> None:
    with pytest.raises(SettingsError, match=r"GiB for its weights alone, and .* GiB of memory are"):
        llm.check(str(huge))
    with pytest.raises(SettingsError, match="take a smaller model"):
        llm.load(str(huge))


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file or folder"):
        llm.check(str(tmp_path / "nothing"))
    with pytest.raises(SettingsError, match="there is no such file or folder"):
        llm.check("nothing.gguf")
    with pytest.raises(SettingsError, match=r"neither config\.json nor a GGUF file"):
        llm.check(str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(SettingsError, match="is a file; expected"):
        llm.check(str(tmp_path / "model.bin"))
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF and then nothing")
    with pytest.raises(SettingsError, match="could not be found or read"):
        llm.check(str(tmp_path))


def test_a_model_without_a_tokenizer(huge: Path, tmp_path: Path) -> None:
    small = json.loads((huge / "config.json").read_text("utf-8"))
    small |= {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(small))
    with pytest.raises(SettingsError, match="no tokenizer") as caught:
        llm.check(str(tmp_path))
    assert "\n" not in str(caught.value)
