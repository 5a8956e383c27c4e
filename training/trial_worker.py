"""What one trial of a search does: ask for the features it needs, train, and report to Ray Tune."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util.queue import Queue

from cluster.store import open_store
from training.dataset_card import read_card
from training.features import make_features
from training.fit import fit
from training.quiet import start_tensorflow
from training.searches import Search
from training.study import DRAWN, NUMBER
from training.task import TrainTask, build_task_network
from training.worker import SCORE


class FeatureDesk:
    """The actor where trials ask for features: what is made for the first that needs it, the others find.

    Outside of the trials' placement groups, in which there is no room for it.
    """

    def __init__(self, planned: dict[str, Any]) -> None:
        self._search = Search(**planned)
        self._asked: set[tuple[Any, ...]] = set()

    def need(self, task: dict[str, Any], events: Queue) -> None:
        """Make the features that this task's head is trained on, where they are missing."""
        wanted = TrainTask(**task)
        names = ("mirror", "precision", "trainable")
        asked = (wanted.architecture, wanted.height_px, wanted.width_px, *(wanted.recipe[name] for name in names))
        if asked in self._asked:
            return
        start_tensorflow()
        card = read_card(open_store(wanted.store).patient(), wanted.dataset_id)
        make_features(
            wanted,
            card,
            build_task_network(wanted, card).trunks,
            workers=self._search.workers * self._search.concurrent,
            gpus_per_worker=self._search.gpus_per_worker,
            say=events.put,
            progress=lambda done, total: events.put({"what": "features", "steps": total, "step": done}),
        )
        self._asked.add(asked)


def run_trial(config: dict[str, Any], planned: dict[str, Any], events: Queue, desk: Any) -> None:
    """A trial, in a process of Ray Tune's: a Ray Train run whose reports go on to Ray Tune."""
    this = Search(**planned)
    run = this.run_of(config[NUMBER], config[DRAWN])
    ray.get(desk.need.remote(asdict(run.task), events))

    def on_event(event: dict[str, Any]) -> None:
        # Of several trials at a time one line would tell nothing.
        if this.concurrent == 1:
            events.put({**event, "what": f"trial {config[NUMBER]}/{this.trials}  {event['what']}"})

    with tempfile.TemporaryDirectory(prefix="onesheet-trial-") as folder:
        store = open_store(this.store).patient()
        history = fit(run, store, Path(folder), lambda line: None, on_event, callbacks=[TuneReportCallback()])
    # The best, and not the last, is what Optuna learns from; and a trial that had ended as its driver died, and is run
    # again, has reported nothing yet.
    best = max(row[SCORE] for row in history)
    tune.report({"epoch": history[-1]["epoch"], SCORE: best, "has_ended": True})
