"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures_s3"]

ROOT = Path(__file__).resolve().parent.parent

# No test measures time: on a loaded machine an example may take as long as it likes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real posters, catalogues and weights (ONESHEET_TEST_DATA); tests skip where there is none."""
    folder = Path(os.environ.get("ONESHEET_TEST_DATA", ROOT.parent / "shared"))
    if not (folder / "posters" / "train.csv").is_file():
        pytest.skip(f"no real test data in {folder}; set ONESHEET_TEST_DATA")
    return folder
