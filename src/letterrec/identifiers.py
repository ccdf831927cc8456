"""Item identifiers: codes, their uniqueness, the tokens they become, and what they look like.

Only this module knows how a code becomes a token. What a code means belongs to the tokenizers,
which identifiers are legal next to `decoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
    """

    codes: NDArray[np.int32]
    sizes: tuple[int, ...]

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
        """Size of the token vocabulary: padding, end, and every code of every level."""
        return FIRST_CODE_TOKEN + sum(self.sizes)

    @cached_property
    def level_offsets(self) -> tuple[int, ...]:
        """The token of code 0 at each level: token = ``level_offsets[level] + code``."""
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
        return "".join(f"<{_letter(i)}_{c}>" for i, c in enumerate(self.codes[item]) if c >= 0)


def _letter(level: int) -> str:
    return chr(ord("a") + level) if level < 26 else f"l{level}"


def parse_tokens(given: Sequence[Sequence[str]]) -> Identifiers:
    """Identifiers from token strings such as ``("<a_183>", "<b_70>")``, collisions kept."""
    raise NotImplementedError  # written with the uniqueness and the diagnostics
