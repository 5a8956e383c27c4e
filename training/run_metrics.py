"""A run's metrics while it trains, through Ray's Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge


class RunMetrics:
    """Tells Prometheus what rank 0 tells its driver (`training.worker`): of a run, or of a trial of a search.

    Ray puts `ray_` before the names, and `_total` after those of counters.
    """

    def __init__(self, run: str) -> None:
        self._run = {"run": run}
        self._loss = Gauge("onesheet_train_loss", "The loss: of the epoch so far, then of the whole.", ("run",))
        self._score = Gauge(
            "onesheet_train_validation_macro_map", "Macro mAP on the validation split, after an epoch.", ("run",)
        )
        self._rate = Gauge("onesheet_train_images_per_s", "Posters a second over all workers, in an epoch.", ("run",))
        self._learning_rate = Gauge("onesheet_train_learning_rate", "At the end of an epoch.", ("run",))
        self._epoch = Gauge("onesheet_train_epoch", "The epoch that is under way or was the last.", ("run",))
        self._epochs = Counter("onesheet_train_epochs", "Epochs that were finished.", ("run",))

    def __call__(self, event: str | Mapping[str, Any]) -> None:
        """An event of `train_worker`; remarks and a history that was read again tell nothing new."""
        if isinstance(event, str) or "epoch" not in event:
            return
        self._epoch.set(event["epoch"], self._run)
        if math.isfinite(event["loss"]):
            self._loss.set(event["loss"], self._run)
        if "steps" in event:
            return
        self._score.set(event["validation_macro_map"], self._run)
        self._rate.set(event["images_per_s"], self._run)
        self._learning_rate.set(event["learning_rate"], self._run)
        self._epochs.inc(1, self._run)
