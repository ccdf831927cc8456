"""Which requests may pass, by their heads alone: host, token, origin, method, content type."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.types import Scope

from letterrec.serving.http.tokens import Tokens

PROBES = ("/healthz", "/readyz")
_OPEN = ("/", *PROBES, "/openapi.json", "/favicon.ico")  # they show no data
_ONCE = (
    b"host",
    b"origin",
    b"authorization",
    b"content-length",
    b"content-type",
    b"content-encoding",
)
BULK = "/v1/bulk"  # takes a table
_FILE_LIMIT = 64 * 2**20  # bytes of a table
TABLE_TYPES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
}
_TABLES = ", ".join(TABLE_TYPES)
_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_TYPE = re.compile(
    r"application/(?:json|[\w!#$&^.+-]+\+json)\s*"
    r"(?:;\s*charset\s*=\s*\"?(?P<charset>[\w-]+)\"?\s*)?;?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/?#@\s]+))(?::\d{0,5})?")
_BAD_PERCENT = re.compile(rb"%(?![0-9a-fA-F]{2})")

Refusal = tuple[int, str]  # status and detail


@dataclass(frozen=True)
class Admission:
    """The rules of admission.

    Attributes:
        tokens: that clients must send as ``Authorization: Bearer TOKEN``; where there are none,
            everyone is let in.
        may_change: whether requests may change the catalogue or reload the run.
        body_limit: bytes of a body.
        hosts: names and addresses, without ports, by which clients may call this server; None
            takes any. For a server without a token this prevents DNS rebinding, where another
            site's name resolves to this server.
        origins: of other sites whose pages may ask this server, as ``https://shop.example``.
    """

    tokens: Tokens = field(default_factory=Tokens)
    may_change: bool = True
    body_limit: int = 1_000_000
    hosts: Collection[str] | None = None
    origins: Collection[str] = ()

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request must not pass; None if it may.

        A browser asks without a token whether a page of a named origin may ask (a preflight).
        """
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _ONCE and name in headers:
                return 400, f"the header {name.decode()} comes twice; send it once"
            headers[name] = value
        path, method = scope["path"], scope["method"]
        asks = method == "OPTIONS" and self.named_origin(scope) is not None
        is_open = path in _OPEN or path.startswith("/static/") or asks
        return (
            self._wrong_host(scope, headers)
            or self._no_token(method, path, headers, is_open)
            or self._no_change(method, path, is_open)
            or self._other_site(method, headers)
            or _bad_encoding(scope)
            or self._bad_body(method, path, headers)
        )

    def named_origin(self, scope: Scope) -> bytes | None:
        """The origin of a request if it is one of those named."""
        for name, value in scope["headers"]:
            if name == b"origin":
                return value if value.decode("latin-1") in self.origins else None
        return None

    def _wrong_host(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        host = headers.get(b"host")
        if host is None and scope.get("http_version") == "1.1":
            return 400, "there is no Host header; HTTP/1.1 needs one"
        if scope["path"] in PROBES:
            return None
        name = host_name(None if host is None else host.decode("latin-1"))
        if host is not None and name is None:
            return 400, "the Host header is no host; expected NAME or NAME:PORT"
        if self.hosts is None or name in self.hosts:
            return None
        return 421, (
            f"this server is not known as {name or 'nothing'!r}; call it by the address that it "
            "listens on, or start it with --allowed-host NAME"
        )

    def _no_token(
        self, method: str, path: str, headers: dict[bytes, bytes], is_open: bool
    ) -> Refusal | None:
        if not self.tokens.asked_for or is_open:
            return None
        given = headers.get(b"authorization", b"").strip(b" \t")
        match = _BEARER.fullmatch(given)
        right = self.tokens.right(match[1]) if match else None
        if right is None:
            what = "the token is wrong" if given else "there is no token"
            return 401, f"{what}; send the header 'Authorization: Bearer TOKEN'"
        if right == "read" and not reads(method, path):
            return 403, "this token may read and recommend alone; send one that may change"
        return None

    def _no_change(self, method: str, path: str, is_open: bool) -> Refusal | None:
        if reads(method, path) or is_open or self.may_change:
            return None
        return 403, (
            "this server takes no changes: it was started with --read-only, or it can be "
            "reached from elsewhere and needs a token for them (LETTERREC_TOKEN, --token-file)"
        )

    def body_limit_of(self, path: str) -> int:
        """Bytes of a request's body."""
        return max(self.body_limit, _FILE_LIMIT) if path == BULK else self.body_limit

    def _bad_body(self, method: str, path: str, headers: dict[bytes, bytes]) -> Refusal | None:
        length = headers.get(b"content-length", b"0").strip()
        if not length.isdigit():
            return 400, "content-length is no number; send the body's length in bytes"
        most = self.body_limit_of(path)
        if len(length) > 18 or int(length) > most:
            return 413, f"the body is too large; at most {most} bytes are read"
        has_body = int(length) > 0 or b"transfer-encoding" in headers
        if not has_body or method in ("GET", "HEAD", "OPTIONS"):
            return None
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return 415, "the body must not be compressed; send it without content-encoding"
        kind = headers.get(b"content-type", b"").decode("latin-1").strip()
        if path == BULK:
            return None if table_suffix(kind) else (415, f"the body must be a table: {_TABLES}")
        match = _TYPE.fullmatch(kind)
        if match is None:
            return 415, "the body must be JSON; send it with 'content-type: application/json'"
        if (match["charset"] or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            return 415, "the body must be in UTF-8; send it with charset=utf-8, or without charset"
        return None

    def _other_site(self, method: str, headers: dict[bytes, bytes]) -> Refusal | None:
        origin = headers.get(b"origin")
        if origin is None or method in ("GET", "HEAD"):
            return None
        if origin.decode("latin-1") in self.origins:
            return None
        try:
            parts = urlsplit(origin.decode("latin-1"))
            theirs = without_default_port(parts.netloc, parts.scheme)
            ours = without_default_port(headers.get(b"host", b"").decode("latin-1"), parts.scheme)
        except ValueError:
            theirs, ours = "", ""
        if theirs and theirs == ours:
            return None
        return 403, "another site's page may not ask this server; call it from its own page"


def reads(method: str, path: str) -> bool:
    """Whether a request changes nothing."""
    return method in ("GET", "HEAD", "OPTIONS") or path.startswith("/v1/recommend")


def table_suffix(content_type: str) -> str | None:
    """The ending of a table's file by the type that a client gives it; None if that is no table.

    >>> table_suffix("text/csv; charset=utf-8"), table_suffix("application/json")
    ('.csv', None)
    """
    return TABLE_TYPES.get(content_type.partition(";")[0].strip().lower())


def without_default_port(host: str, scheme: str) -> str:
    """A host and its port, in lower case and without the port where that is the scheme's own."""
    return host.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme, "\0"))


def _bad_encoding(scope: Scope) -> Refusal | None:
    for name, raw in (("path", scope.get("raw_path") or b""), ("query", scope["query_string"])):
        if raw.isascii() and b"%" not in raw:
            continue
        try:
            unquote_to_bytes(raw).decode("utf-8")
            sound = _BAD_PERCENT.search(raw) is None
        except UnicodeDecodeError:
            sound = False
        if not sound:
            return 400, f"the {name} is not percent-encoded UTF-8; encode it, as in caf%C3%A9"
    return None


def host_name(host: str | None) -> str | None:
    """The name or address in a Host header, in one spelling; None if it is none.

    >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("[::1")
    ('localhost', '::1', None)
    """
    match = _HOST.fullmatch((host or "").lower())
    if match is None:
        return None
    name = match[1] or match[2].removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None if match[1] else name


def known_hosts(host: str, bound: str, allowed: Collection[str], token: bool) -> set[str] | None:
    """The host names by which clients may call a server; None for any.

    Args:
        host: the host that it was told to listen on.
        bound: the address of that host.
        allowed: further names that were allowed.
        token: whether clients must send one.
    """
    own = {name for name in map(_spelled, (host, bound, *allowed)) if name}
    address: Any = ipaddress.ip_address(bound.partition("%")[0])
    if not allowed and (token or address.is_unspecified):
        return None
    if address.is_loopback or address.is_unspecified:
        own |= {"localhost", "127.0.0.1", "::1"}
    return own


def _spelled(name: str) -> str | None:
    return host_name(f"[{name}]" if name.count(":") > 1 else name)
