"""The fitting of a run: Ray Train over its workers, told of as it goes, up to the best checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.errors import OnesheetError, TrainingError
from cluster.nodes import beside_driver
from cluster.store import Store
from training.runs import Run, kept_history
from training.telling import Events, Say, followed
from training.tracking import Tracking
from training.worker import SCORE, train_worker

# How often Ray Train looks at its workers, of whom each may be one report ahead: with its own 2 s, an epoch takes no
# less, and a head trains at several epochs a second.
_POLL_INTERVAL_S = "0.2"


def fit(
    run: Run,
    store: Store,
    checkpoint: Path,
    say: Say,
    on_event: Events,
    tracked: Tracking | None = None,
    callbacks: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Run Ray Train; leaves the best checkpoint in the folder and returns a row of metrics an epoch.

    callbacks: Ray Train's own, such as the one that hands its reports on to Ray Tune.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_INTERVAL_S)
    import ray.train  # noqa: PLC0415
    from ray.train.tensorflow import TensorflowTrainer  # noqa: PLC0415
    from ray.util.queue import Queue  # noqa: PLC0415

    task, epochs = run.task, run.task.read_recipe().epochs
    filesystem, root = store.filesystem()
    events = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": beside_driver()})
    history = kept_history(run, store)

    def keep_history() -> None:
        rows = json.dumps([history[epoch] for epoch in sorted(history)])
        store.put(run.key("history.json"), rows.encode(), content_type="application/json")

    def follow(event: str | dict[str, Any]) -> None:
        if isinstance(event, str):
            say(event)
        elif "steps" in event:
            on_event({"what": f"epoch {event['epoch']}/{epochs}", **event})
        elif "history" in event:
            history.clear()
            history.update({row["epoch"]: row for row in event["history"]})
            keep_history()
        else:
            history[event["epoch"]] = event
            keep_history()
            if tracked:
                names = ("loss", SCORE, "images_per_s", "learning_rate")
                tracked.epoch(event["epoch"], {name: event[name] for name in names})
            left_s = event["seconds"] * (epochs - event["epoch"])
            say(
                f"epoch {event['epoch']}/{epochs}  loss {event['loss']:.4f}  validation mAP {event[SCORE]:.3f}  "
                f"{event['images_per_s']:,.0f} posters/s  {_duration(left_s)} left"
            )

    trainer = TensorflowTrainer(
        train_worker,
        train_loop_config={"task": asdict(task), "events": events},
        scaling_config=ray.train.ScalingConfig(
            num_workers=run.workers if run.workers == run.max_workers else (run.workers, run.max_workers),
            use_gpu=run.gpus_per_worker > 0,
            resources_per_worker={"CPU": task.cpus, **({"GPU": run.gpus_per_worker} if run.gpus_per_worker else {})},
        ),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=f"{root}/runs",
            storage_filesystem=filesystem,
            callbacks=list(callbacks),
            failure_config=ray.train.FailureConfig(max_failures=run.max_failures),
            # The newest is kept besides the best, to go on from after a failure.
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=SCORE, checkpoint_score_order="max"
            ),
        ),
    )
    with followed(events, follow), _explained(run.name):
        result = trainer.fit()
    best = result.get_best_checkpoint(SCORE, "max")
    best.to_directory(str(checkpoint))
    return [history[epoch] for epoch in sorted(history)]


@contextlib.contextmanager
def _explained(run: str) -> Iterator[None]:
    """Bring an error of ours from a worker up as it was raised there, and name the run for any other."""
    from ray.train import TrainingFailedError  # noqa: PLC0415

    try:
        yield
    except TrainingFailedError as error:
        causes = list(getattr(error, "worker_failures", {}).values()) or [error]
        for cause in causes:
            found: BaseException | None = cause
            while found is not None:
                if isinstance(found, OnesheetError):
                    raise found from error
                found = found.__cause__ or getattr(found, "cause", None)
        last = str(causes[0]).strip().rpartition("\n")[2] or type(causes[0]).__name__
        raise TrainingError(
            f"run {run} failed: {last}; go on from its newest checkpoint with `onesheet train --resume {run}`, "
            "and see the traceback with ONESHEET_LOG_LEVEL=DEBUG"
        ) from error


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
