"""Item identifiers (semantic IDs): codes, the tokens they become, their file.

Nothing outside this room knows how a code becomes a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from letterrec.errors import IdentifierError
from letterrec.files import atomic_path, denied

PAD_TOKEN = 0
END_TOKEN = 1
FIRST_CODE_TOKEN = 2


@dataclass(frozen=True, eq=False)
class Identifiers:
    """One code sequence per item.

    Attributes:
        codes: int32 ``(n_items, n_levels)``; code ``c`` at level ``l`` satisfies
            ``0 <= c < sizes[l]``, and ``-1`` fills the levels after the end of a shorter
            identifier.
        sizes: codes per level.
        words: what the codes stand for where they are tokens of a text; a code is then the same
            word at every level, and all levels have ``len(words)`` codes. None otherwise.
    """

    codes: NDArray[np.int32]
    sizes: tuple[int, ...]
    words: tuple[str, ...] | None = None

    @classmethod
    def none(cls, n_items: int) -> Self:
        """Of no levels: for items that are ranked without identifiers.

        >>> Identifiers.none(2).spelled(0)
        ''
        """
        return cls(np.zeros((n_items, 0), dtype=np.int32), ())

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.codes.shape[0])

    @property
    def n_levels(self) -> int:
        """Length of the longest identifier."""
        return int(self.codes.shape[1])

    @property
    def n_tokens(self) -> int:
        """Size of the token vocabulary: padding, end, and every code of every level; or every
        word once.
        """
        return FIRST_CODE_TOKEN + (sum(self.sizes) if self.words is None else len(self.words))

    @property
    def vocabulary(self) -> list[str]:
        """The name of every token: padding, end, then the codes level by level, or the words.

        >>> Identifiers(np.array([[1, 0]], dtype=np.int32), (2, 1)).vocabulary
        ['<pad>', '</s>', '<a_0>', '<a_1>', '<b_0>']
        """
        names = self.words
        if names is None:
            sizes = enumerate(self.sizes)
            names = tuple(code_token(level, code) for level, size in sizes for code in range(size))
        return ["<pad>", "</s>", *names]

    @cached_property
    def level_offsets(self) -> tuple[int, ...]:
        """The token of code 0 at each level: token = ``level_offsets[level] + code``."""
        if self.words is not None:
            return (FIRST_CODE_TOKEN,) * len(self.sizes)
        starts = np.cumsum([FIRST_CODE_TOKEN, *self.sizes[:-1]])
        return tuple(int(s) for s in starts)

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """int64 ``(n_items, n_levels)``: the codes as tokens; ``PAD_TOKEN`` where there is none."""
        shifted = self.codes.astype(np.int64) + np.asarray(self.level_offsets)[None, :]
        return np.where(self.codes < 0, PAD_TOKEN, shifted)

    def spelled(self, item: int) -> str:
        """An identifier as people read it.

        >>> Identifiers(np.array([[12, 7]], dtype=np.int32), (256, 256)).spelled(0)
        '<a_12><b_7>'
        """
        names = self.token_names(item)
        return "".join(names if self.words is None else [f"<{name}>" for name in names])

    def token_names(self, item: int) -> list[str]:
        """The tokens of an identifier by the names that a language model's tokenizer knows.

        >>> codes = np.array([[1, 0, -1]], dtype=np.int32)
        >>> Identifiers(codes, (2, 2, 2), ("brush", "hair")).token_names(0)
        ['hair', 'brush']
        """
        codes = [int(code) for code in self.codes[item] if code >= 0]
        if self.words is not None:
            return [self.words[code] for code in codes]
        return [code_token(level, code) for level, code in enumerate(codes)]

    def save(self, path: Path, item_ids: Sequence[str]) -> None:
        """Write them as Parquet: the columns ``item`` and ``level_1`` to ``level_L``.

        Args:
            path: of the file.
            item_ids: external ids, row for row.
        """
        _check_count(self.codes, item_ids)
        columns = {f"level_{i + 1}": level for i, level in enumerate(self.codes.T)}
        frame = pl.DataFrame(
            {"item": list(item_ids), **columns}, schema_overrides={"item": pl.String}
        )
        metadata = {"sizes": ",".join(map(str, self.sizes))}
        if self.words is not None:
            metadata["words"] = json.dumps(self.words)
        with atomic_path(path) as temporary:
            frame.write_parquet(temporary, metadata=metadata)

    @classmethod
    def load(cls, path: Path, item_ids: Sequence[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            IdentifierError: the file is missing or damaged, or belongs to other items or to the
                same items in another order.
            RunError: the file may not be read.
        """
        try:
            frame = pl.read_parquet(path, glob=False)
            metadata = pl.read_parquet_metadata(path)
            sizes = tuple(int(s) for s in metadata["sizes"].split(","))
            words = tuple(json.loads(metadata["words"])) if "words" in metadata else None
            items = frame["item"].to_list()
            columns = [frame[f"level_{i + 1}"].cast(pl.Int32) for i in range(len(sizes))]
            if any(column.null_count() for column in columns):
                raise ValueError("an item lacks a code")
            codes = np.stack([c.to_numpy() for c in columns], 1).astype(np.int32)
        except FileNotFoundError:
            raise IdentifierError(f"{path} is missing; fit the run with --resume") from None
        except (
            pl.exceptions.PolarsError,
            OSError,
            LookupError,
            OverflowError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            if (refused := denied(path)) is not None:
                raise refused from None
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise IdentifierError(f"{path} holds no identifiers ({problem}); fit again") from None
        _check_count(codes, item_ids)
        if ((codes < -1) | (codes >= np.array(sizes))).any():
            raise IdentifierError(
                f"{path} holds codes beyond those of its levels ({sizes}); fit again"
            )
        for row, (ours, theirs) in enumerate(zip(item_ids, items, strict=True)):
            if ours != theirs:
                raise IdentifierError(
                    f"{path} belongs to other items: row {row} is {theirs!r}, expected {ours!r}; "
                    "fit on the data that these identifiers were made from"
                )
        return cls(codes, sizes, words)


def _check_count(codes: NDArray[np.int32], item_ids: Sequence[str]) -> None:
    if len(codes) != len(item_ids):
        raise IdentifierError(
            f"{len(codes)} identifiers for {len(item_ids)} items; expected one identifier per item"
        )


def code_token(level: int, code: int) -> str:
    """A code as people and language models read it.

    >>> code_token(0, 12)
    '<a_12>'
    """
    letter = chr(ord("a") + level) if level < 26 else f"l{level}"
    return f"<{letter}_{code}>"


_TOKEN = re.compile(r"<(?:[a-z]|l\d+)_(\d+)>")


def parse_tokens(given: Sequence[Sequence[str]]) -> Identifiers:
    """Identifiers from token strings such as ``("<a_183>", "<b_70>")``, collisions kept.

    A token's level is its position. Sequences may differ in length. Each level's size is the next
    power of two above its largest code, at least 256.

    Raises:
        IdentifierError: a token is none, or an identifier is empty.

    >>> parse_tokens([("<a_183>", "<b_70>"), ("<a_2>", "<b_300>")]).sizes
    (256, 512)
    """
    width = max((len(tokens) for tokens in given), default=0)
    codes = np.full((len(given), width), -1, dtype=np.int32)
    for row, tokens in enumerate(given):
        if not tokens:
            raise IdentifierError(f"item {row} has no identifier; expected tokens such as '<a_12>'")
        for level, token in enumerate(tokens):
            match = _TOKEN.fullmatch(token)
            if match is None or int(match[1]) > 2**24:
                raise IdentifierError(f"token {token!r} of item {row}; expected one like '<a_12>'")
            codes[row, level] = int(match[1])
    highest = codes.max(0, initial=0)
    return Identifiers(codes, tuple(max(256, 1 << int(c).bit_length()) for c in highest))
