"""The project's own form of Scrapy's commands."""
