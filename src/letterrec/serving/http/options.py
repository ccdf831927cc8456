"""What an operator chooses when a server is started."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from letterrec.errors import RequestError
from letterrec.serving.fleet import DEFAULT
from letterrec.serving.http.admission import without_default_port

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True)
class ServerOptions:
    """How runs are served.

    Attributes:
        host: address to listen on.
        port: to listen on; 0 takes a free one, which the first log line names.
        token_file: file with the tokens of those who may read and change; None takes the
            environment variable ``LETTERREC_TOKEN``, and without that lets everyone in.
        read_token_file: the same for those who may only read; ``LETTERREC_READ_TOKEN``.
        queue: queries that may wait, per run, before the server answers 503.
        max_batch: queries answered by one search.
        deadline: seconds in which a request is answered, with a 503 if it must be; edits and
            reloads have a minute.
        body_limit: bytes of a request's body.
        read_only: take no new items and no other changes over HTTP, and load no encoder for them.
            A server without a token that listens on more than this machine takes none either.
        allowed_hosts: names by which clients may call the server, beside the address that it
            listens on.
        origins: other sites whose pages may ask the server, as ``https://shop.example``.
        root_path: the path under which a proxy has the server, such as ``/rec``.
        drain: seconds from SIGTERM, at which the server is no longer ready, to the stop.
        workers: processes that share the port.
        split: shares of the requests that name no model, by name.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    read_token_file: Path | None = None
    queue: int = 256
    max_batch: int = 64
    deadline: float = 2.0
    body_limit: int = 1_000_000
    read_only: bool = False
    allowed_hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    root_path: str = ""
    drain: float = 0.0
    workers: int = 1
    split: Mapping[str, float] = field(default_factory=dict)


def named_runs(texts: Sequence[str]) -> dict[str, Path]:
    """The runs of a command, by name: folders, or ``NAME=FOLDER``.

    Raises:
        RequestError: a name is missing where there are several, comes twice, or is none.

    >>> named_runs(["runs/a"]), named_runs(["old=runs/a", "new=runs/b"])
    ({'default': PosixPath('runs/a')}, {'old': PosixPath('runs/a'), 'new': PosixPath('runs/b')})
    """
    runs: dict[str, Path] = {}
    for text in texts:
        name, found, folder = text.partition("=")
        if not found or Path(text).exists() or not _NAME.fullmatch(name):
            if len(texts) > 1:
                raise RequestError(
                    f"{text}: several runs are served under names, of letters, digits, '.', '_' "
                    "and '-'; give each as NAME=RUN"
                )
            name, folder = DEFAULT, text
        if not folder:
            raise RequestError(f"{text}: there is no folder; give it as NAME=RUN")
        if name in runs:
            raise RequestError(f"the name {name!r} comes twice; give each run its own")
        runs[name] = Path(folder)
    return runs


def split_of(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Shares of the requests, by model.

    Args:
        texts: as ``NAME=WEIGHT,NAME=WEIGHT``.
        names: of the models.

    Raises:
        RequestError: a name is unknown, a weight is no number, or nothing is left.

    >>> split_of(["old=9", "new=1"], ["old", "new"])
    {'old': 9.0, 'new': 1.0}
    """
    split: dict[str, float] = {}
    for part in ",".join(texts).split(",") if texts else ():
        name, _, weight = part.strip().partition("=")
        if name not in names or name in split:
            there = ", ".join(names)
            raise RequestError(f"--split {part}: expected each of {there} once, as NAME=WEIGHT")
        try:
            split[name] = float(weight)
        except ValueError:
            split[name] = -1.0
        if not 0 <= split[name] < float("inf"):
            raise RequestError(f"--split {part}: the weight {weight!r} is no number of at least 0")
    if split and not sum(split.values()):
        raise RequestError("--split gives no model any requests; give one a weight above 0")
    return split


def checked_root(path: str) -> str:
    """A root path without the slash at its end.

    Raises:
        RequestError: it is none.

    >>> checked_root("/rec/"), checked_root("/")
    ('/rec', '')
    """
    root = path.rstrip("/")
    if root and not _ROOT.fullmatch(root):
        raise RequestError(f"--root-path {path}: expected a path such as /rec")
    return root


def checked_origin(origin: str) -> str:
    """The origin of another site, as browsers send it.

    Raises:
        RequestError: it is none.

    >>> checked_origin("https://Shop.example/")
    'https://shop.example'
    """
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise RequestError(
            f"--cors-origin {origin}: expected a scheme and a name, as in https://shop.example"
        )
    return f"{parts.scheme}://{without_default_port(parts.netloc, parts.scheme)}"
