"""A poster by its URL, from public addresses only, whatever names, redirects and DNS answers say."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp.abc import AbstractCookieJar
from yarl import URL

from crawler.addresses import Address, unmapped
from crawler.outcomes import Reason
from serving.addresses import Network
from serving.problems import ProblemError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_MOST_URL_CHARS = 2048
_MOST_CONNECTIONS = 32
# Python takes these for public. Some carry another address within them, and some are where clouds tell a machine its
# own credentials.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "2002::/16",  # 6to4
        "2001::/32",  # Teredo
        "64:ff9b::/96",  # NAT64
        "168.63.129.16/32",  # Azure's own service
        "192.0.0.0/24",  # Oracle's, among others
    )
)


class ForbiddenAddressError(OSError):
    """A connection would have gone to an address that posters do not come from."""


@dataclass(slots=True)
class Room:
    """How many bytes the posters of one request may still have, all together."""

    left: int


class Fetcher:
    """Fetches posters within `async with`.

    max_bytes: of all posters of a request. timeout_s: for all of a fetch, redirects included. networks: addresses that
    are allowed besides the public ones, for picture hosts of one's own.

    Every connection's address is checked when its socket is made, so that it is the address that is connected to: a
    name that resolves to another one by then, or a redirect, leads no further than the first URL. No proxy, no cookies,
    no credentials.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float = 10.0, networks: Sequence[Network] = ()) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._networks = tuple(networks)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, use_dns_cache=False, socket_factory=self._socket)
        jar: AbstractCookieJar = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=jar,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            # What is packed could unpack to any size.
            headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "onesheet"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    def room(self) -> Room:
        """For the posters of one request."""
        return Room(self._max_bytes)

    async def fetch(self, url: str, room: Room) -> bytes:
        """The body of the URL; its bytes are taken from the room.

        Raises ProblemError: 422 for a URL that is not asked or leads to no file, 413 for a file that is too large, 504
        for a host that takes too long.
        """
        if self._session is None:
            raise RuntimeError("a fetcher is used within `async with`")
        asked = _checked(url)
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                async with self._session.get(asked, allow_redirects=False) as answer:
                    if answer.status in _REDIRECTS and "Location" in answer.headers:
                        asked = _checked(str(asked.join(URL(answer.headers["Location"]))))
                        continue
                    if answer.status != 200:
                        raise _refusal(f"{_told(asked)} answers HTTP {answer.status}", Reason.NOT_FOUND)
                    return await self._body(answer, room)
        except TimeoutError as error:
            said = f"{_told(asked)} did not answer within {self._timeout_s:g} s"
            raise ProblemError(504, said, reason=Reason.TIMEOUT) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The same words for a host that is away and for one that may not be asked: nobody learns from them what
            # stands behind this server.
            said = f"{_told(asked)} cannot be fetched: no public host answers there"
            raise _refusal(said, Reason.UNREACHABLE) from error
        raise _refusal(f"{_told(_checked(url))} leads on more than {_MOST_REDIRECTS} times", Reason.UNREACHABLE)

    async def _body(self, answer: aiohttp.ClientResponse, room: Room) -> bytes:
        chunks = []
        async for chunk in answer.content.iter_any():
            chunks.append(chunk)
            room.left -= len(chunk)
            if room.left < 0:
                said = f"{_told(answer.url)} is too large: the posters of a request have {self._max_bytes} bytes in all"
                raise ProblemError(413, said, reason=Reason.TOO_LARGE)
        return b"".join(chunks)

    def _socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, protocol, _, where = info
        if not self._is_allowed(ipaddress.ip_address(str(where[0]).partition("%")[0])):
            raise ForbiddenAddressError(f"{where[0]} is not public")
        return socket.socket(family, kind, protocol)

    def _is_allowed(self, address: Address) -> bool:
        address = unmapped(address)
        if any(address in network for network in self._networks):
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Whether a poster may come from there: global, unicast, standing for no other address, and no cloud's own."""
    is_listed = any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not address.is_reserved and not is_listed


def _checked(text: str) -> URL:
    if len(text) > _MOST_URL_CHARS:
        raise _refusal(f"a URL of {len(text)} characters is longer than {_MOST_URL_CHARS}")
    try:
        url = URL(text)
    except ValueError as error:
        raise _refusal(f"{text[:100]!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _refusal(f"{text[:100]!r} is no URL to fetch: give http://host/path or https://host/path")
    if url.user or url.password:
        raise _refusal(f"{_told(url)}: a URL with a user or a password is not fetched")
    return url.with_fragment(None)


def _refusal(detail: str, reason: Reason = Reason.BAD_URL) -> ProblemError:
    return ProblemError(422, detail, reason=reason)


def _told(url: URL) -> str:
    """The URL without what may be secret."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
