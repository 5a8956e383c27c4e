"""The runtimes that `benchmarks.runtimes` compares, and one process for each."""
