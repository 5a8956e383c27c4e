"""What the documents promise exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster.settings import Settings
from crawler.outcomes import Reason
from crawler.sources import BUILT_IN
from docs.generated import PAGES
from tests import command_lines
from tests.conftest import ROOT

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "infra" / "README.md",
    # reference/ is written when the site is built.
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "reference"),
]
# In a code block a line, elsewhere between backticks; `…`, `|` and a comment end the command.
COMMAND = re.compile(
    rf"(?:^ {{4}}|`)(?:[A-Z_]+=\S+ )*((?:{'|'.join(command_lines.PROGRAMS)}) [^`\n#|…]*)", re.MULTILINE
)


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
    # A process in the background, output into a file, or one command for another's argument: the rest is the shell's.
    command_lines.check(re.split(r" [&<>]|\$\(", line)[0])


@pytest.mark.parametrize(
    "line",
    [
        "onesheet bake",
        "onesheet train --wings 2",
        "onesheet submit train --wings 2",
        "onesheet crawl report --wings 2",
        "make bread",
        "python -m benchmarks.bread",
        "scrapy crawl spiders",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(line: str):
    with pytest.raises(command_lines.WrongCommandError):
        command_lines.check(line)


def test_every_file_of_infra_that_is_named_is_there():
    named = {
        (document.name, path)
        for document in DOCUMENTS
        for path in re.findall(r"(?<![\w/.])infra/[\w./-]*\w", document.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert [each for each in named if not (ROOT / each[1]).exists()] == []


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
        path = (document.parent / target).resolve()
        # The reference is written when the site is built.
        is_generated = path.parent == ROOT / "docs" / "reference" and path.stem in PAGES
        assert is_generated or path.exists(), target


def test_the_lock_names_no_address():
    assert not re.search(r"https?://|file://|--index-url|--find-links", (ROOT / "requirements.lock").read_text())
