"""Whose address a request comes from, whatever its headers say."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from serving.addresses import address_of

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))


def request(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"type": "http", "headers": headers, "client": (peer, 4711) if peer else None}


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.7",), "192.0.2.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9", "198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", ("198.51.100.7, 10.1.2.3",), "198.51.100.7"),
        ("10.0.0.1", ("10.9.9.9, 10.1.2.3",), "10.9.9.9"),
        ("10.0.0.1", ("198.51.100.7, unknown",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7, , ",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7:50123",), "198.51.100.7"),
        ("10.0.0.1", ("[2001:db8::7]:50123",), "2001:db8::7"),
        ("2001:db8:1::5", ("2001:db8::7",), "2001:db8::7"),
        ("::ffff:10.0.0.1", ("::ffff:198.51.100.7",), "198.51.100.7"),
        (None, ("198.51.100.7",), "?"),
        ("testclient", ("198.51.100.7",), "testclient"),
    ],
)
def test_the_caller_is_the_right_most_address_that_is_no_trusted_proxys(
    peer: str | None, forwarded: tuple[str, ...], found: str
) -> None:
    assert address_of(request(peer, *forwarded), TRUSTED) == found


def test_nobody_is_trusted_by_default() -> None:
    assert address_of(request("10.0.0.1", "198.51.100.7")) == "10.0.0.1"
