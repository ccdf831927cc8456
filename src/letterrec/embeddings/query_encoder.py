"""Embeddings of what people type: a few short texts at a time, often the same ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from letterrec.config.keywords import Encoding
from letterrec.embeddings.encoders import text_encoder
from letterrec.embeddings.similarity import unit

_KEPT = 10_000  # of the latest texts


class QueryEncoder:
    """A content encoder that is loaded with the first text, and remembers the latest ones.

    Any number of threads may share one.

    Args:
        settings: keywords of `text_encoder`.
    """

    def __init__(self, settings: Encoding) -> None:
        self._settings = settings
        self._kept: dict[str, NDArray[np.float32]] = {}  # the latest used last
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 ``(n, d_content)``, each of length one, of at least one text."""
        with self._lock:
            unknown = [text for text in dict.fromkeys(texts) if text not in self._kept]
            if unknown:
                self._keep(unknown, unit(self._encode(unknown)))
            rows = [self._kept.pop(text) for text in dict.fromkeys(texts)]
            self._kept.update(zip(dict.fromkeys(texts), rows, strict=True))
            found = np.stack([self._kept[text] for text in texts])
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def remember(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Take embeddings float32 ``(n, d_content)`` that were made before."""
        with self._lock:
            self._keep(texts, unit(embeddings))

    def _keep(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        self._kept.update(zip(texts, embeddings, strict=True))

    @cached_property
    def _encode(self) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        return text_encoder(**self._settings, half=True)
