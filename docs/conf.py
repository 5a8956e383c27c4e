"""Sphinx's configuration: `make docs`."""

import importlib.metadata
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from docs.generated import write_reference  # noqa: E402  found by the line above

write_reference(DOCS / "reference")

project = "onesheet"
author = "the onesheet authors"
release = importlib.metadata.version("onesheet")
extensions = ["myst_parser"]
# The blocks of commands are indented, as on a terminal; none of them is a language to colour.
highlight_language = "none"
myst_heading_anchors = 3
# Two hyphens are an option.
smartquotes = False
html_theme = "furo"
html_title = "onesheet"
html_show_copyright = False
html_show_sphinx = False
