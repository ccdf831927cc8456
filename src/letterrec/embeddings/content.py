"""Turn item texts into content embeddings, with a cache.

Distinct texts are sorted by length and encoded in chunks of fixed size. Each chunk is cached in a
file that is named after its texts and the encoder. So a run that was killed continues where it
stood, and ends with the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from letterrec.data.dataset import Dataset
from letterrec.data.vectors import Order, file_of, read_vectors
from letterrec.embeddings.encoders import TextEncoder, find, text_encoder
from letterrec.errors import DataError, RunError
from letterrec.files import fingerprint
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.processes import jobs
from letterrec.progress import counting
from letterrec.training import rehearsal
from letterrec.training.devices import has_bfloat16
from letterrec.training.rehearsal import Rehearsal

_REHEARSED = 32  # texts that are encoded together where the time that all take is estimated
_CHUNK = 512  # texts per file of the cache: a killed run loses no more than these


def embed(
    texts: Sequence[str],
    *,
    encoder: str = "minilm",
    batch_size: int = 64,
    max_tokens: int = 128,
    half: bool = False,
    cache: Path | None = None,
) -> NDArray[np.float32]:
    """Encode item texts, or take their embeddings from the cache.

    The result does not depend on the order of the texts, nor on what was cached before. Equal texts
    are encoded once.

    Args:
        texts: one per item; may be empty strings.
        encoder: ``"minilm"`` or, of sixteen languages, ``"multilingual"`` (packaged, work
            offline), or the name or folder of a sentence-transformers model, of a Hugging Face
            encoder or of a language model.
        batch_size: how many texts are encoded at a time.
        max_tokens: longer texts are cut to this, or to what the encoder can read.
        half: compute in bfloat16 where that is fast: for many short texts whose last digits do not
            matter.
        cache: folder of the cache; None: `cache_folder`.

    Returns:
        float32 ``(n, d_content)``.

    Raises:
        DataError: there are no texts.
        SettingsError: the encoder is unknown, out of reach, or gives numbers that are not finite.
        MissingExtra: ``"multilingual"`` is not installed.
    """
    if not texts:
        raise DataError("there is no text to encode; give at least one item with a text")
    source = find(encoder)
    half = half and has_bfloat16()
    folder = (cache if cache is not None else cache_folder()) / "content"
    chunks = _in_chunks(texts)
    n_distinct = sum(map(len, chunks))
    settings = f"{max_tokens} {batch_size}{' half' * half}"
    parts: dict[Path, NDArray[np.float32] | None] = {}
    missing: dict[tuple[str, ...], Path] = {}
    for chunk in chunks:
        path = folder / f"{fingerprint(source.key, settings, chunk)}.safetensors"
        parts[path] = _cached(path)
        if parts[path] is None:
            missing[chunk] = path
    load = partial(
        text_encoder, encoder=encoder, batch_size=batch_size, max_tokens=max_tokens, half=half
    )
    with counting(f"content embeddings ({encoder})", n_distinct) as counter:
        counter.advance(n_distinct - sum(map(len, missing)))
        if (trial := rehearsal.current()) is None:
            for chunk, part in jobs.do(load, list(missing)):
                write_tensors(missing[chunk], {"embeddings": torch.from_numpy(part)})
                parts[missing[chunk]] = part
                counter.advance(len(chunk))
        elif missing:
            parts |= {missing[c]: part for c, part in _rehearsed(trial, load, list(missing))}
    rows = {text: row for row, text in enumerate(chain.from_iterable(chunks))}
    embeddings = np.concatenate([p for p in parts.values() if p is not None])  # (n_distinct, d)
    return np.asarray(embeddings[[rows[text] for text in texts]], dtype=np.float32)


def given_content(
    source: str | Path,
    dataset: Dataset,
    *,
    ids: str | Path | None = None,
    order: Order = "ids",
    quiet: bool = False,
) -> NDArray[np.float32]:
    """Content embeddings from a file, in place of those of an encoder.

    Args:
        source: a file that `vectors.read_vectors` reads.
        dataset: the items that the vectors belong to.
        ids: a file with the vectors' item ids, where ``source`` has none.
        order: ``"rows"`` takes vectors without ids in the order of ``dataset.item_ids``.
        quiet: do not report vectors that are left out.

    Returns:
        float32 ``(n_items, d_content)``.

    Raises:
        DataError: they cannot be read, or do not fit the items.
    """
    expected = "'auto', 'text', 'collaborative' or a file of vectors"
    return read_vectors(
        file_of(source, "content", expected),
        dataset,
        what="content vectors",
        setting="content",
        ids=ids,
        order=order,
        quiet=quiet,
    )


def encode_in_parts(
    texts: Sequence[str], *, encoder: str = "minilm", batch_size: int = 64, max_tokens: int = 128
) -> NDArray[np.float32]:
    """Encode texts that come once, as many at a time as make a part. Nothing is cached.

    Args:
        texts: at least one.
        encoder: as in `embed`, as all further arguments.
        batch_size: how many texts are encoded at a time.
        max_tokens: longer texts are cut.

    Returns:
        float32 ``(n, d_content)``.

    Raises:
        SettingsError: the encoder is unknown or out of reach.
    """
    load = partial(text_encoder, encoder=encoder, batch_size=batch_size, max_tokens=max_tokens)
    chunks = _in_chunks(texts)
    n_distinct = sum(map(len, chunks))
    rows: dict[str, NDArray[np.float32]] = {}
    with counting(f"content embeddings ({encoder})", n_distinct) as counter:
        for part, embeddings in jobs.do(load, chunks):
            rows |= zip(part, embeddings, strict=True)
            counter.advance(len(part))
    return np.stack([rows[text] for text in texts])


def cache_folder() -> Path:
    """The folder for results that any run may use again.

    It is the environment variable ``LETTERREC_CACHE``, else a folder in the user's cache.
    """
    given = os.environ.get("LETTERREC_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("letterrec")


def _rehearsed(
    trial: Rehearsal, load: Callable[[], TextEncoder], chunks: Sequence[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], NDArray[np.float32]]]:
    """Chunks with embeddings that look like theirs: of some of the texts, not quite repeated."""
    texts = list(chain.from_iterable(chunks))
    parts = [texts[i : i + _REHEARSED] for i in range(0, len(texts), _REHEARSED)]
    encode = load()
    known = np.concatenate([encode(part) for part in trial.sample(parts)])
    random = np.random.default_rng(0)
    for chunk in chunks:
        drawn = known[random.integers(len(known), size=len(chunk))]
        noise = 0.1 * known.std() * random.standard_normal(drawn.shape)
        yield chunk, (drawn + noise).astype(np.float32)


def _in_chunks(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The distinct texts, the longest first, as many together as make a part.

    >>> _in_chunks(["soap", "wax", "soap", "towel"])
    [('towel', 'soap', 'wax')]
    """
    distinct = sorted(set(texts), key=lambda text: (-len(text), text))
    return [tuple(distinct[i : i + _CHUNK]) for i in range(0, len(distinct), _CHUNK)]


def _cached(path: Path) -> NDArray[np.float32] | None:
    """The embeddings in a file of the cache; None where it is missing or damaged."""
    try:
        tensors, _ = read_tensors(path)
        return tensors["embeddings"].numpy()
    except (RunError, KeyError):
        return None
