"""Scrapy's counters, without their costly way to be called."""

from __future__ import annotations

from scrapy.statscollectors import MemoryStatsCollector


class LeanStatsCollector(MemoryStatsCollector):
    """Scrapy wraps each method, to warn of an argument that it will drop: a twentieth of a poster's time."""

    __getattribute__ = object.__getattribute__
