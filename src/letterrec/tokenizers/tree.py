"""Identifiers from a tree of the catalogue: the path to an item's group, then its number there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterrec.embeddings.similarity import unit
from letterrec.errors import IdentifierError, RunError
from letterrec.files import write_json
from letterrec.files.tensors import read_tensors, write_tensors
from letterrec.identifiers.collisions import group
from letterrec.tokenizers.base import (
    Codes,
    Items,
    Tokenizer,
    check_content,
    check_fitted,
    read_about,
)
from letterrec.training.devices import set_seed
from letterrec.training.options import TrainingOptions

_BLOCK = 1024  # items compared with all groups at a time


class Grown(NamedTuple):
    """A tree.

    Attributes:
        paths: int32 ``(n, depth)``: the codes on the way to each item's group. Where a branch ends
            above the others, a code that says so fills the levels below.
        sizes: codes per level of the paths.
    """

    paths: Codes
    sizes: tuple[int, ...]


class TreeTokenizer(Tokenizer):
    """Codes are names of groups, not vectors; the last one is the item's number in its group.

    All groups number their items from 0 on. The numbers reach at least as far again as the largest
    group needs, at most twice as far: new items get the first that are free. A new item of which
    the tree knows nothing goes to the group whose items have the most similar content.
    """

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()
        self._paths: Codes = np.zeros((0, 0), dtype=np.int32)  # (groups, depth)
        self._centres = np.zeros((0, 0), dtype=np.float32)  # (groups, d_content)

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The keywords that it was made with."""

    @abstractmethod
    def _grow(self, items: Items) -> Grown:
        """Make the tree of a catalogue.

        Raises:
            SettingsError: the items lack what it is made of.
        """

    @abstractmethod
    def _paths_of(self, items: Items) -> Codes | None:
        """int32 ``(n, depth)``: where items are in the tree; None where they do not say."""

    def _state(self) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """What `_paths_of` reads, as tensors and as JSON, to be kept."""
        return {}, {}

    def _restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Take what `_state` gave."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level, those that end a branch among them."""
        return self._sizes

    @property
    def codebooks(self) -> None:
        """None: codes stand for no vectors."""
        return None

    def fit(self, items: Items, options: TrainingOptions) -> Self:
        """Make the tree of a catalogue; of the options only the seed is read.

        Raises:
            SettingsError: the items lack what the tree is made of, or their content is empty, of
                another shape or not finite.
        """
        content = items.content
        if content.shape != (len(items), 0):
            check_content(content)
        set_seed(options.seed)
        paths, sizes = self._grow(items)
        ids, counts = group(paths)
        self._paths = paths[np.unique(ids, return_index=True)[1]]
        self._sizes = (*sizes, 1 << int(counts.max()).bit_length())
        sums = np.zeros((len(counts), content.shape[1]), dtype=np.float64)
        np.add.at(sums, ids, unit(content))
        self._centres = unit(sums.astype(np.float32))
        return self

    def quantize(self, items: Items) -> Codes:
        """int32 ``(n, levels)``: the paths to the items' groups, and 0 for the number."""
        if not self._sizes:
            check_fitted(0)
        paths = self._paths_of(items)
        if paths is None:
            paths = self._paths[self._nearest(items.content)]
        return np.pad(paths, ((0, 0), (0, 1))).astype(np.int32)

    def codes_and_latents(self, items: Items) -> tuple[Codes, None]:
        """The codes of `quantize`, and None: they are names."""
        return self.quantize(items), None

    def assign(self, items: Items, taken: Codes | None = None) -> Codes:
        """int32 ``(n, levels)``: one identifier per item, none shared, none in ``taken``.

        Where a group has no free number, its new items go to the next nearest one by content.

        Raises:
            IdentifierError: there are fewer identifiers than items; ``taken`` has another shape.
        """
        codes = self.quantize(items)
        if taken is None:
            taken = codes[:0]
        if taken.shape[1:] != codes.shape[1:]:
            raise IdentifierError(
                f"taken identifiers have shape {taken.shape}; expected (m, {codes.shape[1]})"
            )
        numbers = _Numbers(taken, self._sizes[-1])
        for row, path in enumerate(codes[:, :-1]):
            number = numbers.next_of(path)
            if number is None:
                path, number = self._with_room(items.content[row], numbers)
            codes[row, :-1], codes[row, -1] = path, number
        return codes

    def quantized(self, items: Items) -> None:
        """None: codes stand for no vectors."""
        return

    def reconstruction_error(self, items: Items) -> None:
        """None: nothing is restored from names."""
        return

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.safetensors`` into a folder."""
        if not self._sizes:
            check_fitted(0)
        own, about = self._state()
        tensors = {
            "paths": torch.from_numpy(self._paths),
            "centres": torch.from_numpy(self._centres),
            "sizes": torch.tensor(self._sizes, dtype=torch.int64),
        }
        write_tensors(folder / "tokenizer.safetensors", {**tensors, **own}, about)
        write_json(folder / "tokenizer.json", {"name": self.name, **self.settings})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the tokenizer gives the same codes.

        Raises:
            RunError: the files are missing, damaged or of another tokenizer.
        """
        tokenizer = cls(**read_about(folder, cls.name))
        tensors, about = read_tensors(folder / "tokenizer.safetensors")
        try:
            tokenizer._paths = tensors["paths"].numpy()
            tokenizer._centres = tensors["centres"].numpy()
            tokenizer._sizes = tuple(tensors["sizes"].tolist())
            tokenizer._restore(tensors, about)
        except (KeyError, TypeError):
            tokenizer._sizes = ()
        sizes, paths = tokenizer._sizes[:-1], tokenizer._paths
        is_whole = len(tokenizer._sizes) > 0 and paths.shape == (
            len(tokenizer._centres),
            len(sizes),
        )
        if not is_whole or (paths < 0).any() or (paths >= np.array(sizes)).any():
            raise RunError(
                f"{folder}/tokenizer.safetensors does not fit tokenizer.json; fit it again"
            )
        return tokenizer

    def _similar(self, content: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 ``(n, groups)``: cosines of content and the groups' mean directions."""
        if self._centres.shape[1] == 0:
            raise RunError(
                f"the tokenizer {self.name!r} was fitted to items without content, so it cannot "
                "tell where new ones belong; fit it on items with texts"
            )
        check_fitted(self._centres.shape[1], content)
        return np.asarray(unit(content) @ self._centres.T)

    def _nearest(self, content: NDArray[np.float32]) -> NDArray[np.int64]:
        """int64 ``(n,)``: the group with the most similar content, of equals the first."""
        blocks = (content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK))
        found = [self._similar(block).argmax(1) for block in blocks]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def _with_room(
        self, content: NDArray[np.float32], numbers: _Numbers
    ) -> tuple[NDArray[np.int32], int]:
        """The path and a free number of the nearest group that has one."""
        for nearest in np.argsort(-self._similar(content[None])[0], kind="stable"):
            number = numbers.next_of(self._paths[nearest])
            if number is not None:
                return self._paths[nearest], number
        raise IdentifierError(
            f"all identifiers are taken: {len(self._paths)} groups of {self._sizes[-1]} items; "
            "fit the tokenizer again on all items"
        )


class _Numbers:
    """The free numbers of every group, given out from the first on."""

    def __init__(self, taken: Codes, size: int) -> None:
        self._size = size
        self._taken: dict[bytes, set[int]] = {}
        self._free: dict[bytes, Iterator[int]] = {}
        for *path, number in taken.tolist():
            self._taken.setdefault(_key(np.array(path)), set()).add(number)

    def next_of(self, path: NDArray[np.integer]) -> int | None:
        """The group's next free number; None where there is none."""
        key = _key(path)
        if key not in self._free:
            taken = self._taken.get(key, set())
            self._free[key] = (n for n in range(self._size) if n not in taken)
        return next(self._free[key], None)


def _key(path: NDArray[np.integer]) -> bytes:
    return path.astype(np.int32).tobytes()
