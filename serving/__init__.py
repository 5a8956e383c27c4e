"""Floor 4: the production model over HTTP, on a page, and from the shell."""
