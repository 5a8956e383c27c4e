"""`onesheet site`: serve a rehearsal site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.console import JsonFlag, finish, say

if TYPE_CHECKING:
    from crawler.site.content import SiteContent


def site(
    *,
    catalog: Annotated[Path | None, typer.Option(help="Serve this catalogue's titles; needs --posters.")] = None,
    posters: Annotated[Path | None, typer.Option(help="A folder with <imdb_id>.jpg; needs --catalog.")] = None,
    titles: Annotated[int, typer.Option(min=1, help="Without a catalogue: how many films to invent.")] = 400,
    faults: Annotated[str, typer.Option(help="Shares of titles that misbehave: not_found=0.05,slow=0.1.")] = "",
    slow_s: Annotated[float, typer.Option(help="Seconds that a slow title waits.")] = 2.0,
    revision: Annotated[int, typer.Option(min=0, help="Another number changes the posters of every tenth title.")] = 0,
    tmdb_token: Annotated[str, typer.Option(help="The bearer token that its TMDB takes.")] = "rehearsal",  # noqa: S107
    tmdb_rate: Annotated[int, typer.Option(help="Requests a second that its TMDB answers; 429 for more.")] = 40,
    omdb_key: Annotated[str, typer.Option(help="The key that its OMDb takes.")] = "rehearsal",
    omdb_quota: Annotated[int, typer.Option(help="Requests that its OMDb answers in all; 401 for more.")] = 1000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8900,
    write_catalog: Annotated[Path | None, typer.Option(help="Write the catalogue here before serving.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve a site shaped like IMDb, its image host, TMDB and OMDb, to rehearse a crawl.

    Without a catalogue it invents films, series and games and draws their posters. Ctrl-C ends it.

    \b
    Faults; the same titles misbehave every time:
      of the site       slow, not_found, rate_limited, unavailable, moved, loop, drip
      block pages       blocked, forbidden, captcha, consent
      of the image      truncated, cut, corrupt, html, placeholder, tiny, wide, bomb, no_ai, unsized
      other formats     png, webp, gif, cmyk
      of the metadata   no_picture (title page), unlisted and unpictured (TMDB and OMDb)

    \b
    Examples:
      onesheet site --titles 400 --write-catalog demo.csv
      onesheet site --catalog MovieGenre.csv --posters posters/ --port 0 --json
      onesheet site --faults not_found=0.05,truncated=0.05,slow=0.1 --slow-s 5
      onesheet site --faults tt9900003=cut,blocked=0.2
      onesheet site --tmdb-rate 5 --omdb-quota 100
    """
    from crawler.site.apis import ApiRules  # noqa: PLC0415  help stays quick
    from crawler.site.faults import Faults  # noqa: PLC0415  as above
    from crawler.site.server import serve_site  # noqa: PLC0415

    chosen = Faults.parse(faults, slow_s)
    rules = ApiRules(tmdb_token, tmdb_rate, omdb_key, omdb_quota)
    content = _content(catalog, posters, titles, revision)
    if write_catalog is not None:
        content.write_catalog(write_catalog)

    def tell(url: str) -> None:
        say(
            f"[bold]{url}[/] serves {len(content.titles)} titles, {content.poster_count} with a poster. Ctrl-C ends it."
        )
        listed = write_catalog or catalog
        if listed is None:
            say(f"Its catalogue:  curl -o catalog.csv {url}/catalog.csv")
        say(f"To crawl it:    ONESHEET_REHEARSAL={url} scrapy crawl posters -a catalog={listed or 'catalog.csv'}")
        if as_json:
            finish({"url": url, "titles": len(content.titles), "posters": content.poster_count}, as_json=True)

    serve_site(content, chosen, host, port, rules=rules, on_ready=tell)


def _content(catalog: Path | None, posters: Path | None, titles: int, revision: int) -> SiteContent:
    from crawler.site.content import SiteContent, SiteError  # noqa: PLC0415

    if catalog is not None and posters is not None:
        return SiteContent.from_catalog(catalog, posters, revision)
    if catalog is not None or posters is not None:
        raise SiteError("--catalog and --posters go together: give both, or neither to invent films")
    return SiteContent.invented(titles, revision=revision)
