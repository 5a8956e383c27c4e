"""The job server of a Ray cluster, which is its dashboard: found, asked, its refusals in a sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import ClusterError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
# Ray's clients prefer this variable to the address that they are given.
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_CONNECT_TIMEOUT_S = 5
_ANSWER_TIMEOUT_S = 60


class JobServer:
    """One job server. client: Ray's JobSubmissionClient, for what has answers of its own."""

    def __init__(self, address: str = DEFAULT_ADDRESS) -> None:
        """Raises ClusterError within seconds where none answers."""
        self.address = _checked_address(address)
        with self.explained():
            self.client = job_client(self.address)

    @property
    def is_here(self) -> bool:
        """Whether it is asked on this machine."""
        return urlsplit(self.address).hostname in ("127.0.0.1", "localhost", "::1")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Within the block, what the server refuses is a ClusterError."""
        from ray.exceptions import RayError  # noqa: PLC0415

        try:
            yield
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise ClusterError(f"the job server at {self.address} refused: {gist(error)}") from error


def job_client(address: str) -> Any:
    """Ray's JobSubmissionClient for exactly this address, whatever the environment says."""
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    class Client(JobSubmissionClient):
        """Gives up on a server that takes a request and never answers it."""

        def _do_request(self, *words: Any, **options: Any) -> Any:
            return super()._do_request(*words, **{"timeout": (_CONNECT_TIMEOUT_S, _ANSWER_TIMEOUT_S), **options})

    _use_token()
    before = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address
    try:
        return Client(address)
    finally:
        if before is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = before


def is_unknown(error: Exception) -> bool:
    """Whether the job server says that it has no such job."""
    return "status code 404" in str(error)


def gist(error: object) -> str:
    """The sentence in an error or a job's message; the job server sends its whole traceback, whose last line it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")] or [type(error).__name__]
    return lines[-1] if "Traceback" in lines[0] else lines[0]


def _use_token() -> None:
    """Let Ray's clients send the token in ~/.ray/auth_token, as ray.init does by itself and they do not."""
    with contextlib.suppress(ImportError):  # Ray before 2.60 knows no such default
        from ray._private.authentication import authentication_token_setup as setup  # noqa: PLC0415

        setup.logger.setLevel(logging.ERROR)
        setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _checked_address(address: str) -> str:
    """The address with its scheme, after a knock: Ray's client would wait for minutes."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(f"{address!r} is not a job server's address: use the dashboard's, such as {DEFAULT_ADDRESS}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no job server answers at {url} ({error}); give the address of the Ray dashboard with --address or "
            f"{ADDRESS_VARIABLE}, or start a cluster: ray start --head"
        ) from error
    return url
