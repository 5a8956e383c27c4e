"""A whole search over real Ray Tune and Ray Train, killed in the middle and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.store import FolderStore
from training.dataset import Card
from training.registry import Registry

SPACE = """
architecture = ["cnn_small@48x32", "mobilenet_v2@48x32"]
epochs = 2
learning_rate = { from = 1e-4, to = 1e-2, log = true }
loss = ["binary_crossentropy", "asymmetric"]
"""
TRIALS = 3


def onesheet(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import onesheet; onesheet.main()", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def trials_of(store: FolderStore) -> list[dict[str, Any]]:
    """The trials that are over."""
    keys = [key for key in store.list("runs/") if key.endswith("/trials.json")]
    return [trial for trial in json.loads(store.get(keys[0])) if trial["state"] != "running"] if keys else []


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(900)
def test_a_search_whose_driver_is_killed_goes_on_and_registers_its_winner(
    dataset: tuple[FolderStore, Card], tmp_path: Path, weights_folder: Path
):
    """With a smaller budget. One of its trials, at least, is a head on the features of a frozen backbone."""
    store, card = dataset
    space = tmp_path / "space.toml"
    space.write_text(SPACE)
    asked = ("--space", str(space), "--trials", str(TRIALS + 6), "--weights", str(weights_folder))
    named = ("tune", "--store", store.url, *asked, "--name", "weekly")
    killed = onesheet(*named)
    try:
        until = time.monotonic() + 400
        while not trials_of(store):
            assert killed.poll() is None, killed.communicate()[1][-3000:]
            assert time.monotonic() < until, "no trial ended"
            time.sleep(0.5)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
    before = trials_of(store)
    assert len(before) < TRIALS, "it was killed too late to prove anything"
    assert store.exists("runs/weekly/search.json")
    search = next(key for key in store.list("runs/") if key.endswith("/search.json")).split("/")[1]

    resumed = onesheet("tune", "--store", store.url, "--resume", search, "--trials", str(TRIALS), "--json")
    out, err = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, err[-3000:]
    result = json.loads(out.splitlines()[-1])
    trials = trials_of(store)
    assert len(trials) == result["trials"] == TRIALS
    assert "mobilenet_v2@48x32" in {trial["architecture"] for trial in trials}, "a seed's first draw is the same"
    assert {trial["state"] for trial in trials} <= {"ended", "stopped"}, err[-3000:]
    kept = {trial["run"]: trial for trial in trials}
    for trial in before:
        assert kept[trial["run"]] == trial, "what was finished is not done again"
    # So few posters give equal scores now and then: the quicker wins.
    best = min(trials, key=lambda trial: (-trial["score"], trial["seconds"]))
    assert result["winner"] == best["run"]

    bundle = Registry(store).card(result["version"])
    assert bundle.architecture == best["architecture"]
    assert bundle.lineage["search"] == search
    assert bundle.lineage["trial"] == best["run"]
    assert bundle.lineage["dataset_id"] == card.dataset_id
    page = store.get(f"runs/{search}/leaderboard.html").decode()
    assert all(str(trial["run"]) in page for trial in trials)

    again = onesheet("tune", "--store", store.url, "--resume", search)
    _, err = again.communicate(timeout=200)
    assert again.returncode == 1
    assert "has ended and its model is registered" in err
    assert "Traceback" not in err

    same = onesheet(*named, "--json")
    out, err = same.communicate(timeout=200)
    assert same.returncode == 0, err[-3000:]
    assert json.loads(out.splitlines()[-1])["version"] == result["version"], "by its name it tells what it came to"
