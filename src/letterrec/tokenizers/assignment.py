"""Identifiers of many items, in parts: codes by slices of the items, uniqueness by first codes.

What collides and what is moved shares a first code, so that the items of each first code are
settled without a word from the others. What comes out is what `Tokenizer.assign` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from letterrec.identifiers.collisions import check_room, resolve
from letterrec.processes import jobs
from letterrec.progress import counting
from letterrec.tokenizers.base import Codes, Items, Tokenizer

_SLICE = 65_536  # items of a part: whole batches of every tokenizer, so that they round alike


def assign(tokenizer: Tokenizer, items: Items, taken: Codes | None = None) -> Codes:
    """int32 ``(n, levels)``: one identifier per item, none shared, none in ``taken``.

    Made in parts where others do them, the items are many and the tokenizer has codebooks, and else
    by the tokenizer.

    Args:
        tokenizer: fitted.
        items: any, seen in fitting or not.
        taken: int32 ``(m, levels)`` identifiers that other items have.

    Raises:
        IdentifierError: there are fewer identifiers than items.
    """
    books = tokenizer.codebooks
    if books is None or not jobs.is_shared() or len(items) <= _SLICE:
        return tokenizer.assign(items, taken)
    taken = np.zeros((0, len(books)), dtype=np.int32) if taken is None else taken
    codes, latents = _quantized(tokenizer, items, books.shape[2])
    check_room(len(codes), taken, books.shape[:2])
    groups = [_under(code, codes, latents, taken) for code in np.unique(codes[:, 0])]
    room = books.shape[1] ** (len(books) - 1)
    if any(len(group.codes) + len(group.taken) > room for group in groups):
        return resolve(codes, latents, books, taken=taken)  # some leave their first code
    result = codes.copy()
    with counting("identifiers", len(codes)) as counter:
        for group, unique in jobs.do(partial(_settling, books), groups):
            result[codes[:, 0] == group.code] = unique
            counter.advance(len(unique))
    return result


class _Group(NamedTuple):
    """The items of a first code: their codes, latents, and what is taken there."""

    code: int
    codes: Codes
    latents: NDArray[np.float32]
    taken: Codes


def _under(code: int, codes: Codes, latents: NDArray[np.float32], taken: Codes) -> _Group:
    rows = codes[:, 0] == code
    return _Group(int(code), codes[rows], latents[rows], taken[taken[:, 0] == code])


def _settling(books: NDArray[np.float32]) -> Callable[[_Group], Codes]:
    def settle(group: _Group) -> Codes:
        return resolve(group.codes, group.latents, books, taken=group.taken)

    return settle


def _quantized(tokenizer: Tokenizer, items: Items, dim: int) -> tuple[Codes, NDArray[np.float32]]:
    """Codes int32 ``(n, levels)`` as they come, and the latents float32 ``(n, dim)``."""
    codes = np.empty((len(items), len(tokenizer.sizes)), dtype=np.int32)
    latents = np.empty((len(items), dim), dtype=np.float32)
    with counting("codes", len(items)) as counter:
        for part, (some, vectors) in jobs.do(partial(_quantizing, tokenizer), _Slices(items)):
            rows = slice(part.start, part.start + len(some))
            codes[rows], latents[rows] = some, vectors
            counter.advance(len(some))
    return codes, latents


class _Slice(NamedTuple):
    """Items from a row on."""

    start: int
    content: NDArray[np.float32]
    cf: NDArray[np.float32] | None


class _Slices(Sequence[_Slice]):
    """Items cut into slices, each made when it is asked for."""

    def __init__(self, items: Items) -> None:
        self._items = items

    def __len__(self) -> int:
        return -(-len(self._items) // _SLICE)

    @overload
    def __getitem__(self, index: int) -> _Slice: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Slice]: ...
    def __getitem__(self, index: int | slice) -> _Slice | Sequence[_Slice]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = slice(index * _SLICE, (index + 1) * _SLICE)
        cf = None if self._items.cf is None else self._items.cf[rows]
        return _Slice(rows.start, self._items.content[rows], cf)


def _quantizing(tokenizer: Tokenizer) -> Callable[[_Slice], tuple[Codes, NDArray[np.float32]]]:
    def quantize(part: _Slice) -> tuple[Codes, NDArray[np.float32]]:
        codes, latents = tokenizer.codes_and_latents(Items(part.content, part.cf))
        assert latents is not None
        return codes, latents

    return quantize
