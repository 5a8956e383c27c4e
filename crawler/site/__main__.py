"""The site as a child process: `onesheet site` that ends with its standard input, so also when its parent dies."""

from __future__ import annotations

import json
import os
import sys
import threading

import typer

from cluster.errors import OnesheetError
from crawler.site.commands import site


def _end_with_parent() -> None:
    # The raw descriptor: a thread that waits inside sys.stdin would hold its lock while the interpreter shuts down.
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        typer.run(site)
    except OnesheetError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201
        sys.exit(1)
