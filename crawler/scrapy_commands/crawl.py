"""`scrapy crawl`, which checks the posters spider's arguments first and exits with the crawl's own status."""

from __future__ import annotations

import argparse
import sys

from scrapy.commands.crawl import Command as ScrapyCrawl

from cluster.errors import OnesheetError
from crawler.options import read_options
from crawler.plan import make_plan
from crawler.spiders.posters import PostersSpider


class Command(ScrapyCrawl):
    """Scrapy's own command with all of its options; a bad argument is one sentence instead of a traceback."""

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        if args != [PostersSpider.name]:
            super().run(args, opts)
            return
        try:
            plan = make_plan(read_options(**opts.spargs))
        except OnesheetError as error:
            print(f"scrapy crawl {PostersSpider.name}: {error}", file=sys.stderr)  # noqa: T201
            self.exitcode = 1
            return
        if not self.crawler_process:
            raise RuntimeError("Scrapy gave the command no crawler process")
        crawler = self.crawler_process.create_crawler(self._create_crawler(PostersSpider.name))
        self.crawler_process.crawl(crawler, plan=plan)
        self.crawler_process.start()
        if self.crawler_process.bootstrap_failed or not getattr(crawler.spider, "is_finished", False):
            self.exitcode = 1
