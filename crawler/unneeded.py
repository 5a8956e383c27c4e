"""What a crawl never uses is not imported either: a quarter of its start, and a fifth of its memory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

# Parts that Scrapy imports before it asks whether they are on: a terminal, a web server, a list of public suffixes.
_SWITCHES = {
    ("EXTENSIONS_BASE", "scrapy.extensions.telnet.TelnetConsole"): "TELNETCONSOLE_ENABLED",
    ("EXTENSIONS_BASE", "scrapy.extensions.remote_control.RemoteControl"): "REMOTE_CONTROL_ENABLED",
    ("DOWNLOADER_MIDDLEWARES_BASE", "scrapy.downloadermiddlewares.cookies.CookiesMiddleware"): "COOKIES_ENABLED",
}


def spare_pandas() -> None:
    """Let pyarrow make arrays without pandas, which it imports at the first one to tell a Series from a list.

    It asks only once. What really needs pandas, such as `Table.to_pandas`, imports it as ever.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _WithoutPandas)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_WithoutPandas)


class _WithoutPandas:
    """A finder for modules that has looked for pandas in vain."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def spare_what_is_off(settings: BaseSettings) -> None:
    """Take the parts that these settings switch off out of Scrapy's own lists."""
    for (base, part), switch in _SWITCHES.items():
        if not settings.getbool(switch):
            kept = {name: order for name, order in settings.getdict(base).items() if name != part}
            settings.set(base, kept, priority="spider")
