"""What `benchmarks.crawl` and its sisters run against: a local nginx, the peers, and how a run is measured."""
