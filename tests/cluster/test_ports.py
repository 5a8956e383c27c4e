"""Whether a port can be listened on."""

from __future__ import annotations

import socket

import pytest

from cluster.ports import try_port


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_refused_while_another_listens_on_it(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        port = taken.getsockname()[1]
        try_port(host, port)
        taken.listen()
        with pytest.raises(OSError, match="Address already in use"):
            try_port(host, port)
    try_port(host, port)
