"""Pure: whether an address is one that no poster comes from."""

from __future__ import annotations

import functools
import ipaddress
import socket


@functools.lru_cache(maxsize=1024)
def is_trap(host: str) -> bool:
    """Whether a host is a link-local address, where clouds keep their machines' credentials, or nobody's.

    host: a name, which is none, or an address in any spelling that resolvers take: 2852039166, 0xa9.0xfe.43518.
    """
    host = host.rstrip(".").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError, ValueError):
            return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_link_local or address.is_unspecified or address.is_multicast
