"""Callers for benchmarks of the endpoint."""
