"""Pure: addresses, and whether one is such that no poster comes from it."""

from __future__ import annotations

import functools
import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (::ffff:0:0/96), or the address itself."""
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


@functools.lru_cache(maxsize=1024)
def is_trap(host: str) -> bool:
    """Whether a host is a link-local address, where clouds keep their machines' credentials, or nobody's.

    host: a name, which is none, or an address in any spelling that resolvers take: 2852039166, 0xa9.0xfe.43518.
    """
    host = host.rstrip(".").partition("%")[0]
    try:
        address = unmapped(ipaddress.ip_address(host))
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError, ValueError):
            return False
    return address.is_link_local or address.is_unspecified or address.is_multicast
