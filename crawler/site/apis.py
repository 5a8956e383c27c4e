"""What the rehearsal site's TMDB and OMDb demand of a client, and how they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crawler.site.content import SiteError


@dataclass(frozen=True, slots=True)
class ApiRules:
    """The right token and key, TMDB's requests a second, and the requests that OMDb answers in all."""

    tmdb_token: str = "rehearsal"  # noqa: S105  this site's own, known to everybody
    tmdb_rate: int = 40
    omdb_key: str = "rehearsal"
    omdb_quota: int = 1000

    def __post_init__(self) -> None:
        """Raises SiteError for a rate or quota that is none."""
        if self.tmdb_rate < 1:
            raise SiteError(f"tmdb-rate={self.tmdb_rate} is not valid; give at least 1 request a second")
        if self.omdb_quota < 0:
            raise SiteError(f"omdb-quota={self.omdb_quota} is not valid; give 0 or more requests")


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """One answer in JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
