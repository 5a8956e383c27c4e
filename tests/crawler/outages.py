"""A gate in front of a server, which a test closes and opens: an outage of a server that keeps its data."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit


class Gate:
    """Passes bytes between a port and a server; closed, it refuses connections or swallows what is sent.

    host: where it listens; all addresses of this machine for nodes with addresses of their own.
    """

    def __init__(self, server: tuple[str, int], host: str = "127.0.0.1") -> None:
        self._server = server
        self._listener = socket.create_server((host, 0))
        self._host, self.port = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.port}"
        self.delay_s = 0.0
        """How long each piece of an answer takes; the server is slow where it is more than none."""
        self._sockets: set[socket.socket] = set()
        self._is_open = threading.Event()
        self._is_open.set()
        self._listen()

    def close(self, *, is_deaf: bool = False) -> None:
        """From now on the server does not answer: deaf, like a stopped process, or with its port closed."""
        self._is_open.clear()
        if not is_deaf:
            self._hang_up()

    def open(self) -> None:
        """The server is back on the same port; what it was sent meanwhile reaches it."""
        self._is_open.set()
        if self._listener.fileno() < 0:
            self._listener = socket.create_server((self._host, self.port), reuse_port=False)
            self._listen()

    def end(self) -> None:
        """For good."""
        self._hang_up()
        self._is_open.set()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            # Unlike close() alone, this wakes the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._sockets |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._is_open.wait()
                if self.delay_s and source.getpeername() == self._server:
                    time.sleep(self.delay_s)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        self._sockets.discard(source)


@contextlib.contextmanager
def gate(url: str, host: str = "127.0.0.1") -> Iterator[Gate]:
    """An open gate in front of the server at a URL."""
    parts = urlsplit(url)
    found = Gate((parts.hostname or "", parts.port or 80), host)
    try:
        yield found
    finally:
        found.end()
