"""Running rehearsal sites, shared because each takes half a second to start."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.server import Site, running_site


@pytest.fixture(scope="session")
def content() -> SiteContent:
    """The same titles that the running site invents."""
    return SiteContent.invented(60)


@pytest.fixture(scope="session")
def faulty() -> dict[Fault, str]:
    """A title with a poster for each fault; the other titles, such as tt9900001, behave."""
    return {fault: f"tt99000{20 + number}" for number, fault in enumerate(Fault)}


@pytest.fixture(scope="session")
def site(faulty: dict[Fault, str]) -> Iterator[Site]:
    """A site of 60 invented titles of which one misbehaves in each way."""
    faults = Faults(named={imdb_id: fault for fault, imdb_id in faulty.items()}, slow_s=0.4)
    with running_site(titles=60, faults=faults) as running:
        yield running


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    """An HTTP client of the running site."""
    with httpx.Client(base_url=site.url, trust_env=False, timeout=10) as open_client:
        yield open_client
