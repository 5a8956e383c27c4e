"""The image's recipe, without a container engine: its lint, what goes into its context, and its install step."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")


def context_of(folder: Path) -> set[str]:
    """The files that a build in `folder` would see."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {path for path in exclude_paths(str(folder), patterns) if (folder / path).is_file()}


def copied() -> list[str]:
    """What the Dockerfile copies from its context."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE)
    return [source for line in lines for source in line.split()]


def test_a_linter_finds_nothing_in_the_dockerfile():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}")
    if hadolint is None:
        pytest.skip("hadolint has no package for this platform")
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_everything_that_is_copied_is_in_the_context():
    context = context_of(ROOT)
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(path == source or path.startswith(f"{source}/") for path in context), source


def test_the_packages_data_is_in_the_context():
    assert context_of(ROOT) >= {"serving/page/index.html", "serving/page/script.js", "training/search.toml"}


def test_no_data_secret_or_history_is_in_the_context(tmp_path: Path):
    kept_out = [
        ".git/config",
        ".env",
        "serving/.env",
        "serving/.env.local",
        "crawler/key.pem",
        "cluster/tls.key",
        "crawler/__pycache__/run.pyc",
        "onesheet-data/posters/tt0000001.jpg",
        "demo/store/a",
        "weights.h5",
        ".venv/bin/python",
        "tests/test_x.py",
        "credentials",
    ]
    for name in [*kept_out, "pyproject.toml", "cluster/jobs.py"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert context_of(tmp_path) == {"pyproject.toml", "cluster/jobs.py"}


def test_the_images_python_is_one_that_onesheet_supports():
    (version,) = re.findall(r"^ARG PYTHON_VERSION=(\S+)$", TEXT, re.MULTILINE)
    (supported,) = re.findall(r'requires-python = "(\S+)"', (ROOT / "pyproject.toml").read_text())
    assert SpecifierSet(supported).contains(version)


def test_every_version_is_named_and_no_digest():
    assert "@sha256" not in TEXT
    assert ":latest" not in TEXT
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["python:${PYTHON_VERSION}-slim-bookworm"] * 2
    assert '"uv==${UV_VERSION}"' in TEXT


def test_the_image_runs_as_nobody_special():
    assert re.findall(r"^USER (.+)$", TEXT, re.MULTILINE) == ["1000:1000"]


@pytest.mark.fault
def test_the_install_step_takes_locked_versions_only(tmp_path: Path):
    (uv_version,) = re.findall(r"^ARG UV_VERSION=(\S+)$", TEXT, re.MULTILINE)
    venv.create(tmp_path / "uv", with_pip=True)
    subprocess.run([tmp_path / "uv/bin/pip", "install", "--quiet", f"uv=={uv_version}"], check=True)
    uv = tmp_path / "uv/bin/uv"
    subprocess.run([uv, "venv", "--quiet", tmp_path / "onesheet"], check=True)
    # The RUN line's own command, told to choose and to install nothing.
    command = f"{uv} pip install --dry-run --python {tmp_path}/onesheet/bin/python --constraint requirements.lock"
    made = subprocess.run(
        [*command.split(), "-r", "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    chosen = set(re.findall(r"^ \+ (\S+==\S+)$", made.stderr, re.MULTILINE))
    locked = set(re.findall(r"^([\w.-]+==[^ ;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert len(chosen) > 100
    assert chosen <= locked
    assert not [name for name in chosen if name.startswith(("pytest=", "mypy=", "playwright="))]
