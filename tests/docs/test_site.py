"""The documentation as a site: it builds without a warning, and its reference tells of all that there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crawler.outcomes import Reason
from docs.generated import PAGES, exported_metrics
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A link, an anchor or a page that leads nowhere is a warning, and a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html"]
    made = subprocess.run([*command, ROOT / "docs", folder], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder


def test_every_page_is_in_the_site(site: Path):
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 20
    assert [page for page in pages if not (site / page).is_file()] == []


def test_pictures_and_linked_code_come_along(site: Path):
    assert {path.name for path in (site / "_images").iterdir()} >= {"flow.svg"}
    assert "recipe.py" in {path.name for path in (site / "_downloads").rglob("*.py")}


def test_the_reference_tells_every_command_metric_setting_and_reason():
    commands, metrics, ledger = PAGES["commands"](), PAGES["metrics"](), PAGES["ledger"]()
    for name in ("onesheet crawl\n", "onesheet crawl report\n", "onesheet models promote\n", "onesheet submit\n"):
        assert f"## {name}" in commands
    assert "| `--gpus-per-worker` | `0` |" in commands
    assert all(f"| `{metric.name}" in metrics for metric in exported_metrics())
    assert all(f"| `{reason}` |" in ledger for reason in Reason)
    assert "| `ONESHEET_STORE` | `onesheet-data` |" in PAGES["settings"]()
