"""What a harvest costs on AWS, on paper: `python infra/aws/costs.py` prints the table of docs/costs.md."""

from __future__ import annotations

from dataclasses import dataclass

# US dollars in us-east-1, Linux, on demand, by the hour, as tables of 2025 and 2026 quote AWS's lists.
_HEAD_PER_H = 0.2016  # m7i.xlarge
_NODE_PER_H = 0.1785  # c7i.xlarge: 4 vCPU
# A spot node costs what it costs that day; this is what we reckon with.
_SPOT_SHARE = 0.4
_STORED_PER_GB_MONTH = 0.023
_PER_PUT, _PER_GET = 0.005 / 1000, 0.0004 / 1000

# Measured (docs/crawling.md, docs/training.md) on 2 vCPU; a node has twice as many, and we reckon with twice the rate.
_POSTER_KB = 33  # 174 MB / 5,280 posters
_CRAWLED_PER_S = 2 * 121  # stored to S3, with the S3 server on the same two cores
_PREPARED_PER_S = 2 * 110  # from S3: 5,280 posters in 48 s
_TRAINED_PER_S = 2 * 54  # frozen mobilenet_v2, features and head: 5,280 posters in 98 s
# Hosts' limits, which no number of nodes changes (docs/crawling.md).
_TMDB_PER_S = 40
_PAGES_PER_S = 0.5


@dataclass(frozen=True, slots=True)
class Harvest:
    """Titles, each with a poster, and the nodes that prepare and train."""

    titles: int
    nodes: int

    @property
    def crawl_h(self) -> float:
        """By TMDB, whose limit is the slowest link by far."""
        return self.titles / min(_TMDB_PER_S, _CRAWLED_PER_S) / 3600

    @property
    def pages_h(self) -> float:
        """The same by title pages."""
        return self.titles / _PAGES_PER_S / 3600

    @property
    def work_h(self) -> float:
        """Prepare and train, shared by the nodes evenly."""
        return self.titles * (1 / _PREPARED_PER_S + 1 / _TRAINED_PER_S) / self.nodes / 3600

    @property
    def stored_gb(self) -> float:
        """Posters, and again in the dataset's shards."""
        return 2 * self.titles * _POSTER_KB / 1e6

    @property
    def machines(self) -> float:
        """Dollars: the head all the time, one node to crawl, all of them to prepare and train."""
        nodes_h = self.crawl_h + self.nodes * self.work_h
        return (self.crawl_h + self.work_h) * _HEAD_PER_H + nodes_h * _NODE_PER_H * _SPOT_SHARE

    @property
    def requests(self) -> float:
        """Dollars: a poster is put once, and read to be prepared; shards of 512 hardly count."""
        return self.titles * (_PER_PUT + _PER_GET)

    @property
    def a_month(self) -> float:
        """Dollars, for what is kept."""
        return self.stored_gb * _STORED_PER_GB_MONTH


HARVESTS = (Harvest(40_000, 1), Harvest(1_000_000, 4), Harvest(10_000_000, 8))


def table() -> str:
    """The rows of docs/costs.md."""
    lines = [
        "| titles | posters, GB (twice) | crawl, h | by title pages | prepare and train, h | nodes | machines, $ "
        "| requests, $ | kept, $ a month |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.titles:,} | {each.stored_gb:,.1f} | {each.crawl_h:,.1f} | {each.pages_h / 24:,.1f} days "
        f"| {each.work_h:,.1f} | {each.nodes} | {each.machines:,.2f} | {each.requests:,.2f} | {each.a_month:,.2f} |"
        for each in HARVESTS
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201
