"""A crawl imports what it uses, and what is switched on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_IMPORTED = """
import json, sys
from crawler.unneeded import spare_pandas
spare_pandas()
import pyarrow as pa
numbers = pa.array([1, None])
before = "pandas" in sys.modules
frame = pa.table({"n": numbers}).to_pandas()
print(json.dumps([before, "pandas" in sys.modules, len(frame), len(pa.array(frame["n"]))]))
"""
_CHAIN = """
import json, sys
from scrapy.settings import Settings
from crawler.spiders.posters import PostersSpider
settings = Settings(json.loads(sys.argv[1]))
settings.setmodule("crawler.settings", priority="project")
settings.setdict(json.loads(sys.argv[1]), priority="cmdline")
PostersSpider.update_settings(settings)
settings.get_component_priority_dict_with_base("DOWNLOADER_MIDDLEWARES")
found = settings["EXTENSIONS_BASE"].keys() | settings["DOWNLOADER_MIDDLEWARES_BASE"].keys()
print(json.dumps([sorted(name.split(".")[-1] for name in found), "tldextract" in sys.modules]))
"""


def _said(code: str, *arguments: str) -> list:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_an_array_is_made_without_pandas_which_still_works_where_it_is_asked_for():
    assert _said(_IMPORTED) == [False, True, 2, 2]


@pytest.mark.parametrize(
    ("switch", "part"),
    [
        ("COOKIES_ENABLED", "CookiesMiddleware"),
        ("TELNETCONSOLE_ENABLED", "TelnetConsole"),
        ("REMOTE_CONTROL_ENABLED", "RemoteControl"),
    ],
)
def test_what_is_off_is_not_in_scrapys_lists_and_one_setting_brings_it_back(switch, part):
    parts, has_suffixes = _said(_CHAIN, "{}")
    assert part not in parts
    assert not has_suffixes
    parts, _ = _said(_CHAIN, json.dumps({switch: True}))
    assert part in parts
