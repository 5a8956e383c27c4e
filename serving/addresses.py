"""Pure: whose address a request comes from, where proxies that are trusted stand in front."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from crawler.addresses import Address, unmapped

Network = IPv4Network | IPv6Network
_FORWARDED = "X-Forwarded-For"
_NOBODY = "?"


def address_of(scope: Scope, trusted: Sequence[Network] = ()) -> str:
    """The address of an ASGI request's caller; `?` where the server knows none.

    trusted: networks of proxies. Each proxy writes at the right of X-Forwarded-For whom it was asked by, so the caller
    is the right-most address that is no trusted proxy's; all that stands left of it may be the caller's invention.
    Without a trusted proxy at the other end of the connection the header counts for nothing.
    """
    peer = scope["client"][0] if scope.get("client") else _NOBODY
    found = _read(peer)
    if found is None:
        return str(peer)
    hops = [hop for value in Headers(scope=scope).getlist(_FORWARDED) for hop in value.split(",")]
    while hops and any(found in network for network in trusted):
        before = _read(hops.pop())
        if before is None:
            # Who asked this proxy is not told; it is the last one that is known.
            break
        found = before
    return str(found)


def _read(text: str) -> Address | None:
    """An address, with a port or without: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return unmapped(ip_address(text))
    except ValueError:
        return None
