"""A turn is for the work alone."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from serving.access import Access
from serving.follower import Follower
from serving.interface import Limits, build_api
from tests.serving.conftest import Register, running_app
from training.registry import Registry


@pytest.mark.parametrize("path", ["predict?top=0", "explain?picture=fresco", "similar?top=101"])
def test_a_wrong_query_is_answered_before_its_posters_are_read(
    registry: Registry, register: Register, path: str
) -> None:
    register("v1")
    registry.promote("v1")
    heard: list[Access] = []
    limits = Limits(max_upload_bytes=50_000, listeners=(heard.append,))
    with running_app(build_api(Follower(registry, poll_interval_s=60, max_pixels=100_000), limits)) as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=20) as caller:
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 20000\r\n\r\n"
            caller.sendall(head.encode())
            assert caller.recv(1000).startswith(b"HTTP/1.1 422 ")
    assert [(it.status, it.posters) for it in heard] == [(422, 0)]
