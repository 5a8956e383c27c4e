"""Prepare, train and tune go on where a node dies, a line is cut, a disk is full or the store is away."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cluster.store import Store
from tests.faults.conftest import AWAY_S, SLOW_S, Command, Ground, measured
from training.dataset_card import read_card

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(400)]

EPOCHS = 30
_WORKER = "RayTrainWorker"


def train(ground: Ground, store: Store, *more: object, workers: int = 2) -> Command:
    how = ("--workers", workers, "--cpus-per-worker", 1, "--architecture", "cnn_small", "--epochs", EPOCHS)
    return ground.onesheet("train", "--store", store.url, *how, *more, "--json")


def epochs_of(store: Store, version: str) -> list[int]:
    return [row["epoch"] for row in json.loads(store.get(f"runs/{version}/report.json"))["history"]]


def last_epoch(command: Command) -> int:
    return max(int(line.split("/")[0].removeprefix("epoch ")) for _, line in command.said if line.startswith("epoch "))


def test_a_node_that_dies_while_preparing_costs_its_shards(ground: Ground, many_posters: Store) -> None:
    ground.gate.delay_s = 0.05
    command = ground.onesheet("prepare", "--store", many_posters.url, "--workers", 3, "--json")
    node = command.until(lambda: ground.node_with("ray::_write_for"), what="a task on a worker node")
    ground.bed.kill(node)
    died = time.monotonic()
    ground.gate.delay_s = 0.0
    result = command.end()
    ended_s = time.monotonic() - died
    card = read_card(many_posters, result["dataset_id"])
    assert sum(card.posters.values()) == 1100
    assert all(many_posters.exists(key) for keys in card.shards.values() for key in keys)
    measured("prepare", "worker node killed", lost="its shard in the making", done_again_s=ended_s)


def test_a_node_that_dies_while_two_workers_train_costs_epochs_and_not_the_run(
    ground: Ground, learnt_from: Store
) -> None:
    """Its connections fall silent, as those of a machine that is switched off."""
    command = train(ground, learnt_from)
    command.when("epoch 5/")
    node = ground.node_with(_WORKER)
    assert node
    ground.switch_off(node)
    died, before = time.monotonic(), last_epoch(command)
    went_on = command.when("going on from the checkpoint of epoch", since=died, longest_s=200)
    result = command.end()
    assert epochs_of(learnt_from, result["version"]) == list(range(1, EPOCHS + 1))
    (line,) = [line for _, line in command.said if line.startswith("going on from")][-1:]
    lost = before - int(line.rpartition(" ")[2])
    measured("train, 2 workers", "node switched off", lost_epochs=lost, went_on_s=went_on - died)


def test_a_line_between_two_workers_that_is_cut_for_a_minute_costs_the_minute(
    ground: Ground, learnt_from: Store
) -> None:
    ground.need_network()
    command = train(ground, learnt_from)
    command.when("epoch 3/")
    other, one = [name for name in ("head", *ground.bed.workers) if ground.titled(name, _WORKER)]
    ground.bed.cut(one, other)
    cut, before = time.monotonic(), last_epoch(command)
    time.sleep(AWAY_S)
    ground.bed.mend(one, other)
    # What was under way as the line broke may still be told.
    went_on = command.when("epoch ", since=cut + 2, longest_s=200)
    result = command.end()
    assert epochs_of(learnt_from, result["version"]) == list(range(1, EPOCHS + 1))
    restarted = [line for at, line in command.said if at > cut and line.startswith("going on from")]
    measured(
        "train, 2 workers",
        "line cut for 60 s",
        between=f"{one} {other}",
        epoch=before,
        restarts=len(restarted),
        went_on_s_after_cut=went_on - cut,
    )


@pytest.mark.timeout(400 + SLOW_S)
def test_a_store_that_is_away_for_a_minute_and_then_slow_does_not_end_a_run(ground: Ground, learnt_from: Store) -> None:
    command = train(ground, learnt_from, workers=1)
    command.when("epoch 3/")
    cut = time.monotonic()
    back = ground.outage(command)
    went_on = command.when("epoch ", since=back, longest_s=200)
    result = command.end()
    assert epochs_of(learnt_from, result["version"]) == list(range(1, EPOCHS + 1))
    restarted = [line for at, line in command.said if at > cut and line.startswith("going on from")]
    measured("train", "store away for 60 s, then slow", restarts=len(restarted), went_on_s=went_on - back)


def test_a_full_disk_of_a_node_does_not_end_a_run(ground: Ground, learnt_from: Store) -> None:
    ground.need_disk()
    command = train(ground, learnt_from)
    command.when("epoch 3/")
    node = ground.node_with(_WORKER)
    assert node
    ground.bed.fill(node)
    full = time.monotonic()
    time.sleep(10)
    ground.bed.empty(node)
    result = command.end()
    assert epochs_of(learnt_from, result["version"]) == list(range(1, EPOCHS + 1))
    restarted = [line for at, line in command.said if at > full and line.startswith("going on from")]
    measured("train, 2 workers", "disk full for 10 s", restarts=len(restarted))


def test_a_node_that_dies_while_tuning_costs_epochs_of_its_trial(
    ground: Ground, learnt_from: Store, tmp_path: Path
) -> None:
    space = tmp_path / "space.toml"
    space.write_text('architecture = ["cnn_small@48x32"]\nepochs = 20\nlearning_rate = { from = 1e-4, to = 1e-2 }\n')
    how = ("--space", space, "--trials", 2, "--workers", 1, "--cpus-per-worker", 1, "--concurrent", 2)
    command = ground.onesheet("tune", "--store", learnt_from.url, *how, "--json")
    node = command.until(lambda: ground.node_with(_WORKER), longest_s=150, what="a trial's worker on a worker node")

    def is_training() -> bool:
        return any(
            len(json.loads(learnt_from.get(key))) > 2
            for key in learnt_from.list("runs/search-")
            if key.endswith("/history.json")
        )

    command.until(is_training, longest_s=150, what="an epoch")
    ground.bed.kill(node)
    died = time.monotonic()
    result = command.end(longest_s=300)
    ended_s = time.monotonic() - died
    (key,) = [key for key in learnt_from.list("runs/search-") if key.endswith("/trials.json")]
    trials = json.loads(learnt_from.get(key))
    assert {trial["state"] for trial in trials} <= {"ended", "stopped"}, trials
    assert (len(trials), result["trials"]) == (2, 2)
    measured("tune", "worker node killed", states=[trial["state"] for trial in trials], search_ended_s=ended_s)
