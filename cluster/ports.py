"""Ports: whether one can be listened on, asked before anything is started that would find out late, and free ones."""

from __future__ import annotations

import contextlib
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


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, each different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
