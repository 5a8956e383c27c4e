"""Scrapy's ImagesPipeline with its own defaults, and as many requests at once as onesheet makes."""

from __future__ import annotations

BOT_NAME = "images_pipeline"
SPIDER_MODULES = ["spider"]
ROBOTSTXT_OBEY = True
CONCURRENT_REQUESTS = 32
CONCURRENT_REQUESTS_PER_DOMAIN = 16
ITEM_PIPELINES = {"scrapy.pipelines.images.ImagesPipeline": 1}
LOG_LEVEL = "WARNING"
