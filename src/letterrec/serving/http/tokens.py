"""The tokens that clients must bring: who may read, who may change, and how tokens are replaced."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from letterrec.errors import RequestError

_SHORTEST = 16  # characters
Right = Literal["admin", "read"]


@dataclass(frozen=True)
class TokenSource:
    """Where tokens come from: a file, else the environment; never the command line, which others
    on the machine can read.

    A file holds one token a line, all of them valid, so that a new one can be handed out before the
    old one goes.
    """

    file: Path | None
    variable: str

    def read(self) -> tuple[str, ...]:
        """The tokens; none if there is neither file nor variable.

        Raises:
            RequestError: one is missing where it should be, or too short to keep anyone out.
        """
        if self.file is None:
            text = os.environ.get(self.variable)
            if text is None:
                return ()
            where, lines = self.variable, [text]
        else:
            where = str(self.file)
            try:
                text = self.file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RequestError(
                    f"{where} cannot be read as the token's file ({error}); "
                    "write the token into it, alone on its line"
                ) from None
            lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
        for token in lines:
            if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
                raise RequestError(
                    f"{where} holds a token of {len(token)} characters; expected at least "
                    f"{_SHORTEST} printable ASCII ones, as from: openssl rand -hex 32"
                )
        return tuple(lines)


class Tokens:
    """The tokens that are valid now.

    Args:
        admin: of those who may read and change.
        read: of those who may read alone.
    """

    def __init__(self, admin: Sequence[str] = (), read: Sequence[str] = ()) -> None:
        self._valid: dict[Right, tuple[str, ...]] = {"admin": tuple(admin), "read": tuple(read)}
        self._sources: dict[Right, TokenSource] = {}

    @classmethod
    def read_from(cls, admin: TokenSource, read: TokenSource) -> Tokens:
        """The tokens of these sources, which `reload` reads again.

        Raises:
            RequestError: see `TokenSource.read`; or a token is in both.
        """
        tokens = cls()
        tokens._sources = {"admin": admin, "read": read}
        tokens.reload()
        return tokens

    def reload(self) -> None:
        """Read the sources again; on failure the tokens before stay valid.

        Raises:
            RequestError: see `TokenSource.read`; or a token is in both; or there are none any more.
        """
        found = {right: source.read() for right, source in self._sources.items()}
        if not found:
            return
        if set(found["admin"]) & set(found["read"]):
            raise RequestError(
                "a token is both for reading and for changing; give each right a token of its own"
            )
        self._valid = found

    @property
    def asked_for(self) -> bool:
        """Whether clients must bring one."""
        return any(self._valid.values())

    @property
    def let_change(self) -> bool:
        """Whether there is one with which a client may change something."""
        return bool(self._valid["admin"])

    def right(self, given: bytes) -> Right | None:
        """What the bearer of a token may do; None if it is not valid."""
        rights: tuple[Right, ...] = ("admin", "read")
        for right in rights:
            if any(hmac.compare_digest(given, token.encode()) for token in self._valid[right]):
                return right
        return None
