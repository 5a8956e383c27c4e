"""A crawl's options, from text as Scrapy gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import CrawlerError
from crawler.catalogs import Form
from crawler.options import read_options
from crawler.titles import Kind


def test_text_becomes_the_right_type(tmp_path: Path) -> None:
    options = read_options(
        catalog="a.csv",
        format="ids",
        kinds="film, series",
        adult="true",
        sources="tmdb,page",
        height="900",
        refresh="1.5",
        max_titles="10",
        max_bytes="5GB",
        images=str(tmp_path),
    )
    assert (options.format, options.kinds, options.adult) == (Form.IDS, {Kind.FILM, Kind.SERIES}, True)
    assert (options.sources, options.height, options.refresh) == (("tmdb", "page"), 900, 1.5)
    assert (options.max_titles, options.max_bytes, options.images) == (10, 5_000_000_000, tmp_path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "no catalogue; give one with -a catalog=PATH"),
        ({"catalog": ""}, "no catalogue"),
        ({"catalog": "a.csv", "colour": "red"}, "there is no option 'colour'"),
        ({"catalog": "a.csv", "height": "tall"}, "height='tall' is not valid"),
        ({"catalog": "a.csv", "max_titles": "0"}, "max_titles='0' is not valid"),
        ({"catalog": "a.csv", "format": "xls"}, "format='xls' is not valid"),
        ({"catalog": "a.csv", "kinds": "film,play"}, "kinds="),
        ({"catalog": "a.csv", "images": "/nowhere/at/all"}, "no such folder"),
        ({"catalog": "a.csv", "max_bytes": "much"}, "max_bytes='much' is not valid"),
    ],
)
def test_a_bad_option_is_one_sentence_that_names_it(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CrawlerError, match=sentence):
        read_options(**given)


def test_a_crawl_can_go_on_without_its_catalogue() -> None:
    assert read_options(crawl_id="films").catalog is None
