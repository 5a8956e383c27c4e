"""Whether a port can be listened on, asked before anything is started that would find out late."""

from __future__ import annotations

import socket


def try_port(host: str, port: int) -> None:
    """Raise the OSError that a server would meet that listens on `host:port` now."""
    family, kind, protocol, _, bound = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: the last connections of a server that just ended do not hold its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(bound)
        # On Linux two sockets that reuse may both bind, but only one may listen.
        probe.listen()
