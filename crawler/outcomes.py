"""What can become of a title: stored, or rejected with one reason from a closed list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a title has no poster. Passing reasons are tried again by the next run of the same crawl."""

    # Lasting: the answer would be the same tomorrow.
    NOT_FOUND = "not_found"
    NO_POSTER = "no_poster"
    NOT_A_TITLE = "not_a_title"
    HTML = "html"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT = "corrupt"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    ODD_ASPECT = "odd_aspect"
    PLACEHOLDER = "placeholder"
    REFUSED = "refused"
    ROBOTS = "robots"
    NO_AI = "no_ai"
    BAD_URL = "bad_url"
    # Passing: the network or the host had a bad moment.
    BLOCKED = "blocked"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    WRONG_KEY = "wrong_key"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    TRUNCATED = "truncated"

    @property
    def is_passing(self) -> bool:
        """Whether another try may end otherwise."""
        return self in _PASSING


_PASSING = frozenset(
    {
        Reason.BLOCKED,
        Reason.RATE_LIMITED,
        Reason.QUOTA,
        Reason.WRONG_KEY,
        Reason.SERVER_ERROR,
        Reason.TIMEOUT,
        Reason.UNREACHABLE,
        Reason.TRUNCATED,
    }
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """No poster, and why."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class PosterFacts:
    """A picture that was decoded to its last pixel. `format` is JPEG, PNG, WEBP or GIF; `phash` is 64 bits in hex."""

    format: str
    width_px: int
    height_px: int
    sha256: str
    phash: str

    @property
    def content_type(self) -> str:
        """The MIME type of the bytes."""
        return f"image/{self.format.lower()}"
