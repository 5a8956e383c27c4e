"""The rehearsal site: a web server shaped like IMDb and its image host, for demos, tests and benchmarks."""
