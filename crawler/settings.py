"""Scrapy's settings: polite by default, the ledger behind every item.

A user changes any of them the Scrapy way: `scrapy crawl posters -s DOWNLOAD_DELAY=1`.
"""

from __future__ import annotations

from cluster.cores import available_cores

BOT_NAME = "onesheet"
SPIDER_MODULES = ["crawler.spiders"]
NEWSPIDER_MODULE = "crawler.spiders"
COMMANDS_MODULE = "crawler.scrapy_commands"

# The spider adds ONESHEET_CONTACT in brackets.
USER_AGENT = "onesheet/0.1"
ROBOTSTXT_OBEY = True
# The handler adds keys at the last moment, and is quicker than Scrapy's own by half.
DOWNLOAD_HANDLERS = {
    "http": "crawler.handlers.PosterDownloadHandler",
    "https": "crawler.handlers.PosterDownloadHandler",
}
# One coroutine a request, and limits that hold (`crawler.downloader`).
DOWNLOADER = "crawler.downloader.AwaitedDownloader"
# Unlike Scrapy's default: a key is shown to nobody but its host.
DOWNLOAD_VERIFY_CERTIFICATES = True
COOKIES_ENABLED = False
# No ports are opened on a harvester; -s REMOTE_CONTROL_ENABLED=1 is one flag away.
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False
# Each title is asked for once; a filter would remember millions of URLs for nothing.
DUPEFILTER_CLASS = "scrapy.dupefilters.BaseDupeFilter"

# Titles that are asked for at once; each host's slot lets its own number of them through.
CONCURRENT_REQUESTS = 32
CONCURRENT_REQUESTS_PER_DOMAIN = 8
# Each source names the limits of its hosts (`crawler.sources`); what is given here goes before them.
DOWNLOAD_SLOTS: dict[str, dict[str, float]] = {}
AUTOTHROTTLE_ENABLED = True
AUTOTHROTTLE_START_DELAY = 0.5
AUTOTHROTTLE_MAX_DELAY = 60
AUTOTHROTTLE_TARGET_CONCURRENCY = 4.0
RETRY_TIMES = 2
# What the download handler raises. Scrapy's list names its other handlers' too, which would be imported for that.
RETRY_EXCEPTIONS = [
    "scrapy.exceptions.CannotResolveHostError",
    "scrapy.exceptions.DownloadConnectionRefusedError",
    "scrapy.exceptions.DownloadFailedError",
    "scrapy.exceptions.DownloadTimeoutError",
    "scrapy.exceptions.ResponseDataLossError",
    # HttpCompressionMiddleware, where a compressed answer is empty.
    "builtins.OSError",
]
# The ledger says what became of each title.
RETRY_GIVE_UP_LOG_LEVEL = "INFO"
RETRY_AFTER_MAX_S = 120
BLOCK_LIMIT = 20
# Processes that decode pictures beside the crawl; 0 decodes in it. One keeps up with what a crawl fetches on a core of
# its own, two with what it fetches where others share the cores.
DECODERS = min(2, available_cores() - 1)
# How long writes wait for a store that does not answer, and how many may wait at the same time.
STORE_PATIENCE_S = 120
STORE_THREADS = 16
# Hosts answer JPEGs; a larger body than this is only suspicious, DOWNLOAD_MAXSIZE is the limit.
DOWNLOAD_WARNSIZE = 0

DOWNLOADER_MIDDLEWARES = {
    "crawler.middlewares.LinkLocalMiddleware": 90,
    "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
    "crawler.middlewares.EveryRequestRobotsTxtMiddleware": 100,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
    "crawler.middlewares.PatientRetryMiddleware": 550,
    "scrapy.downloadermiddlewares.redirect.RedirectMiddleware": None,
    "crawler.middlewares.BareRedirectMiddleware": 600,
    # Nothing here is a page to follow, log in to, or keep to one site.
    "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware": None,
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
    "scrapy.downloadermiddlewares.httpauth.HttpAuthMiddleware": None,
    # Below the retries and the redirects, so that a block page is never asked for again, nor followed to; it reads
    # the answer as it was before its compression.
    "crawler.middlewares.BlockPageMiddleware": 610,
    "scrapy.downloadermiddlewares.httpcompression.HttpCompressionMiddleware": 620,
    "scrapy.downloadermiddlewares.stats.DownloaderStats": None,
    "crawler.middlewares.LeanDownloaderStats": 850,
}
STATS_CLASS = "crawler.counts.LeanStatsCollector"
ITEM_PIPELINES = {
    "crawler.pipelines.StorePipeline": 200,
    "crawler.pipelines.LedgerPipeline": 300,
}
EXTENSIONS = {
    "scrapy.extensions.corestats.CoreStats": None,
    "crawler.counts.LeanCoreStats": 0,
    "scrapy.extensions.throttle.AutoThrottle": None,
    "crawler.throttle.PoliteThrottle": 100,
    "crawler.budget.BudgetExtension": 100,
    "crawler.closing.PromptCloseExtension": 100,
    "scrapy.extensions.logstats.LogStats": None,
    "crawler.progress.ProgressExtension": 100,
    "crawler.heartbeat.HeartbeatExtension": 100,
}
# The actor that the shards of `onesheet crawl --workers N` listen to, and this shard's process; set by the fleet.
FLEET = ""
FLEET_ATTEMPT = ""
PROGRESS = "log"
LOG_LEVEL = "INFO"
