"""What the documents promise exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cluster.settings import Settings
from crawler.outcomes import Reason
from crawler.sources import BUILT_IN
from onesheet import app
from tests.conftest import ROOT

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
# In a code block a line, elsewhere between backticks; `…`, `|` and a comment end the command.
COMMAND = re.compile(r"(?:^ {4}|`)(?:[A-Z_]+=\S+ )*((?:onesheet|make) [^`\n#|…]*)", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    found = [
        (document.relative_to(ROOT).as_posix(), match.strip())
        for document in DOCUMENTS
        for match in COMMAND.findall(document.read_text(encoding="utf-8").replace("\\\n", " "))
    ]
    assert len(found) > 10
    return found


@pytest.mark.parametrize(("document", "line"), commands())
def test_every_command_in_the_documents_exists_with_its_options(document: str, line: str):
    program, *words = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] in targets
        return
    root: Any = typer.main.get_command(app)
    command = root
    while hasattr(command, "commands"):
        default = getattr(command, "default_command", None)
        name = words.pop(0) if words and (words[0] in command.commands or not default) else default
        assert name in command.commands, f"{document}: onesheet has no command {name!r}"
        command = command.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    if command.name == "submit" and (below := next((word for word in words if word in root.commands), None)):
        # What follows is a command of its own.
        place = words.index(below)
        test_every_command_in_the_documents_exists_with_its_options(document, shlex.join(["onesheet", *words[place:]]))
        words = words[:place]
    assert {word for word in words if word.startswith("--")} <= options


def test_every_setting_is_documented_with_its_default():
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if field.default is not None else ""
        assert f"| `ONESHEET_{name.upper()}` | {default} |".replace("|  |", "| |") in text, name


def test_every_reason_and_source_of_a_crawl_is_documented():
    text = (ROOT / "docs" / "crawling.md").read_text(encoding="utf-8")
    assert [reason for reason in Reason if f"`{reason}`" not in text] == []
    assert [name for name in BUILT_IN if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(document: Path):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_lock_names_no_address():
    assert not re.search(r"https?://|file://|--index-url|--find-links", (ROOT / "requirements.lock").read_text())
