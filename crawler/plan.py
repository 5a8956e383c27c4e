"""What a crawl needs before its first request, checked: options, settings, sources, the crawl in its store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cluster.errors import CrawlerError
from cluster.settings import Settings, load_settings
from cluster.store import open_store
from crawler.catalogs import open_catalog
from crawler.crawl import CatalogCard, Crawl
from crawler.ledger import Known, adopt, known
from crawler.options import CrawlOptions
from crawler.sources import Credential, Found, Lookup, Setup, Source, source_chain
from crawler.titles import Title
from crawler.unneeded import spare_pandas

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A crawl that can begin."""

    options: CrawlOptions
    settings: Settings
    sources: tuple[Source, ...]
    crawl: Crawl
    card: CatalogCard

    def known(self) -> Known:
        """The titles that need no request, and those that are due for a conditional one."""
        days = self.options.refresh
        before = None if days is None else datetime.now(UTC) - timedelta(days=days)
        return known(self.crawl.store, self.crawl.crawl_id, refresh_before=before)

    def source(self, name: str) -> Source | None:
        """The source of that name in this crawl's chain."""
        return next((source for source in self.sources if source.name == name), None)

    def credential(self, name: str) -> Credential | None:
        """The key of a source, for the host that it is really sent to: its own, or the rehearsal site."""
        source = self.source(name)
        credential = source.credential if source else None
        site = self.settings.rehearsal
        return replace(credential, host=f"{site.host}:{site.port}") if credential and site else credential

    def host_limits(self) -> dict[str, dict[str, float]]:
        """The limits of the sources' hosts, as Scrapy's DOWNLOAD_SLOTS has them."""
        limits = {host: limit for source in self.sources for host, limit in source.limits.items()}
        return {
            host: {"concurrency": limit.concurrency, **({} if limit.delay_s is None else {"delay": limit.delay_s})}
            for host, limit in limits.items()
        }

    def address(self, url: str) -> str:
        """The URL itself, or the same path on the rehearsal site. Raises ValueError for what is no web address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url[:200]!r} is no http or https URL")
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"an address of {parts.hostname} with a user name in it, which is sent to nobody")
        site = self.settings.rehearsal
        if site is None:
            return url
        return parts._replace(scheme=site.scheme, netloc=f"{site.host}:{site.port}").geturl()


def make_plan(options: CrawlOptions) -> Plan:
    """Check everything that can be checked, and leave the catalogue in the store. Raises OnesheetError."""
    spare_pandas()
    settings = load_settings(store=options.store)
    sources = source_chain(Setup(settings, options.height, options.images), options.sources)
    store = open_store(settings.store)
    if not options.catalog:
        store.check()
        crawl = Crawl.resume(store, options.crawl_id or "")
        _require_contact(settings, sources, crawl)
        return Plan(options, settings, sources, crawl, crawl.card())
    with open_catalog(options.catalog, form=options.format, kinds=options.kinds, adult=options.adult) as catalog:
        crawl = Crawl.open(catalog, store, options.crawl_id)
        store.check()
        card = crawl.save_titles(catalog)
    if not card.titles:
        raise CrawlerError(f"catalogue {card.name} has columns but no row that names a title")
    _require_contact(settings, sources, crawl)
    adopt(store, crawl.crawl_id, crawl.numbers())
    return Plan(options, settings, sources, crawl, card)


def _require_contact(settings: Settings, sources: tuple[Source, ...], crawl: Crawl) -> None:
    """A crawl of other people's hosts says whom they can write to."""
    if settings.contact or settings.rehearsal:
        return
    for title in crawl.titles():
        for host in _hosts(sources, title):
            if host not in LOOPBACK:
                raise CrawlerError(
                    f"crawling {host} needs a contact for the user agent: set ONESHEET_CONTACT to an e-mail address "
                    "or URL, or rehearse with `onesheet site` and ONESHEET_REHEARSAL"
                )


def _hosts(sources: tuple[Source, ...], title: Title) -> list[str]:
    places = [source.locate(title) for source in sources]
    urls = [place.url for place in places if isinstance(place, Lookup)]
    urls += [url for place in places if isinstance(place, Found) for url in place.urls]
    found = []
    for url in urls:
        try:
            found.append(urlsplit(url).hostname)
        except ValueError:
            continue
    return [host for host in found if host]
