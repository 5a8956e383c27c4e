"""Scripts that measure; each prints a table and the command line that made it."""
