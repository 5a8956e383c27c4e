"""Scrapy's settings: polite by default, the ledger behind every item.

A user changes any of them the Scrapy way: `scrapy crawl posters -s DOWNLOAD_DELAY=1`.
"""

from __future__ import annotations

BOT_NAME = "onesheet"
SPIDER_MODULES = ["crawler.spiders"]
NEWSPIDER_MODULE = "crawler.spiders"
COMMANDS_MODULE = "crawler.scrapy_commands"

# The spider adds ONESHEET_CONTACT in brackets.
USER_AGENT = "onesheet/0.1"
ROBOTSTXT_OBEY = True
# Every answer reaches the spider, which gives it a reason; redirects are followed first.
HTTPERROR_ALLOW_ALL = True
COOKIES_ENABLED = False
# No ports are opened on a harvester; -s REMOTE_CONTROL_ENABLED=1 is one flag away.
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False
# The spider asks each title once; a filter would remember millions of URLs for nothing.
DUPEFILTER_CLASS = "scrapy.dupefilters.BaseDupeFilter"

# A response gives one item; Scrapy makes this many tasks for each response, and with its default of 100 they were a
# fifth of the samples in a profile.
CONCURRENT_ITEMS = 1
CONCURRENT_REQUESTS = 32
CONCURRENT_REQUESTS_PER_DOMAIN = 8
DOWNLOAD_SLOTS = {
    "www.imdb.com": {"concurrency": 1, "delay": 2.0, "randomize_delay": True},
}
AUTOTHROTTLE_ENABLED = True
AUTOTHROTTLE_START_DELAY = 0.5
AUTOTHROTTLE_MAX_DELAY = 60
AUTOTHROTTLE_TARGET_CONCURRENCY = 4.0
RETRY_TIMES = 2
RETRY_AFTER_MAX_S = 120
BLOCK_LIMIT = 20
# Hosts answer JPEGs; a larger body than this is only suspicious, DOWNLOAD_MAXSIZE is the limit.
DOWNLOAD_WARNSIZE = 0

DOWNLOADER_MIDDLEWARES = {
    "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
    "crawler.middlewares.EveryRequestRobotsTxtMiddleware": 100,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
    "crawler.middlewares.PatientRetryMiddleware": 550,
    # Below the retries, so that a block page is never asked for again.
    "crawler.middlewares.BlockPageMiddleware": 560,
}
ITEM_PIPELINES = {
    "crawler.pipelines.InspectPipeline": 100,
    "crawler.pipelines.StorePipeline": 200,
    "crawler.pipelines.LedgerPipeline": 300,
}
EXTENSIONS = {
    "scrapy.extensions.logstats.LogStats": None,
    "crawler.progress.ProgressExtension": 100,
}
PROGRESS = "log"
LOG_LEVEL = "INFO"
