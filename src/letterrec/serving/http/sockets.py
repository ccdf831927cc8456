"""Where a server listens."""

from __future__ import annotations

import ipaddress
import socket

from letterrec.errors import RunError


def address_of(listener: socket.socket) -> str:
    """Where clients find a server."""
    bound = listener.getsockname()
    host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return f"http://{host}:{bound[1]}"


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a socket, before the run is loaded, so that a port in use is reported at once.

    Args:
        host: name or address.
        port: 0 takes a free one.
        shared: whether other sockets of this user may be bound to the port.

    Raises:
        RunError: the address is not to be had.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit this: without it a body waits 40 ms for its headers' acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise RunError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port, "
            "or a --host that this machine has"
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
