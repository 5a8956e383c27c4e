"""Pure: an HTTP status or a download's exception → the reason why a title has no poster."""

from __future__ import annotations

import re
from collections.abc import Mapping

from scrapy import exceptions as download
from scrapy.exceptions import IgnoreRequest

from crawler.outcomes import Reason, Rejected


class BlockedError(IgnoreRequest):
    """The host answered with a block page."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnsentError(IgnoreRequest):
    """A request that was held back."""


class BadAddressError(UnsentError):
    """An address that is never asked."""


class RobotsAwayError(UnsentError):
    """The host's robots.txt cannot be had, so nobody knows what it allows (RFC 9309, 2.3.1.4)."""


class ClosingError(UnsentError):
    """The crawl ended before the request was sent."""


# aiohttp shows the object in every sentence on a host that cannot be reached.
_SSL_CONTEXT = re.compile(r" ssl:(?:<[^>]*>|default)")

# Looked through in this order: a subclass stands before its base.
_REASONS: tuple[tuple[type[BaseException], Reason], ...] = (
    (BlockedError, Reason.BLOCKED),
    (BadAddressError, Reason.BAD_URL),
    (RobotsAwayError, Reason.SERVER_ERROR),
    (FileNotFoundError, Reason.NOT_FOUND),
    (IgnoreRequest, Reason.REFUSED),
    (download.DownloadTimeoutError, Reason.TIMEOUT),
    (TimeoutError, Reason.TIMEOUT),
    (download.DownloadCancelledError, Reason.TOO_LARGE),
    (download.ResponseDataLossError, Reason.TRUNCATED),
    (download.UnsupportedURLSchemeError, Reason.BAD_URL),
    (ValueError, Reason.BAD_URL),
)


def rejection_of_status(status: int) -> Rejected | None:
    """The reason that lies in the status alone; None for 200, whose body decides."""
    if status == 200:
        return None
    if status in (404, 410):
        reason = Reason.NOT_FOUND
    elif status == 429:
        reason = Reason.RATE_LIMITED
    elif status == 408:
        reason = Reason.TIMEOUT
    elif status >= 500:
        reason = Reason.SERVER_ERROR
    else:
        reason = Reason.REFUSED
    return Rejected(reason, f"HTTP {status}")


def rejection_of_error(error: BaseException) -> Rejected:
    """The reason behind an exception of Scrapy's downloader; what has no better name is `unreachable`."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.UNREACHABLE)
    # Scrapy raises the same bare exception for robots.txt, for an inflated body and for an endless redirect.
    if "robots.txt" in str(error) and reason is Reason.REFUSED:
        reason = Reason.ROBOTS
    elif "DOWNLOAD_MAXSIZE" in str(error) and reason is Reason.REFUSED:
        reason = Reason.TOO_LARGE
    return Rejected(reason, _SSL_CONTEXT.sub("", str(error)) or type(error).__name__)


def forbids_ai(headers: Mapping[str, str], user_agent: str) -> str | None:
    """The X-Robots-Tag by which a host forbids the use of its answer to train models, or None.

    headers: names in lower case. A directive may name the robot that it is for: `onesheet: noai`.
    """
    for part in headers.get("x-robots-tag", "").lower().split(","):
        robot, _, directive = part.rpartition(":")
        if directive.strip() in ("noai", "noimageai") and robot.strip() in ("", user_agent.lower()):
            return f"X-Robots-Tag: {part.strip()}"
    return None
