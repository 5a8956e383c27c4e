"""What a training run is: what is asked of it, settled before it starts, and kept in the store under its name."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cluster.errors import KeyNotFoundError, TrainingError
from cluster.store import Store
from training.dataset import newest_dataset, read_card
from training.parts import weights_files
from training.task import TrainTask, plan_task, share_weights
from training.telling import Say

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What a user asks of a run.

    architecture: an expression as `training.network.parts_of` reads it. recipe: changes to the architecture's own.
    max_workers: more than `workers` lets Ray Train start with fewer and grow to as many as the cluster has room for.
    name: the user's own for the run, which goes on where it has begun; None for a new one each time.
    """

    architecture: str
    dataset_id: str | None = None
    workers: int = 1
    max_workers: int | None = None
    cpus_per_worker: int | None = None
    gpus_per_worker: int = 0
    weights: str = "none"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    height_px: int | None = None
    width_px: int | None = None
    seed: int = 0
    max_failures: int = 2
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is kept in the store, so that another driver can go on with it."""

    name: str
    task: TrainTask
    workers: int
    max_workers: int
    gpus_per_worker: int
    max_failures: int

    def key(self, file: str) -> str:
        """Where a file of the run is."""
        return f"runs/{self.name}/{file}"

    def keep(self, store: Store) -> None:
        """Leave it in the store for `resume`."""
        store.put(self.key("task.json"), json.dumps(asdict(self), indent=2).encode(), content_type="application/json")


def check(options: TrainOptions) -> None:
    """Raise TrainingError for options that no run can have, whatever its dataset. Nothing is started."""
    checked_name(options.name)
    _check_workers(options.workers, options.max_workers or options.workers)
    plan_task(
        options.architecture,
        options.recipe,
        height_px=options.height_px,
        width_px=options.width_px,
        store="",
        dataset_id="",
    )
    weights_files(options.architecture, options.weights)


def checked_name(name: str | None) -> str | None:
    """A run's name of the user's, if the store can hold it. Raises TrainingError."""
    if name is not None and not _NAME.fullmatch(name):
        raise TrainingError(f"--name {name}: use letters, digits and . _ - (at most 80)")
    return name


def name_or_new(name: str | None, kind: str) -> str:
    """The user's own name of a run or search, or a new one that says of what kind it is. Raises TrainingError."""
    return checked_name(name) or f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def kept_run(name: str, store: Store) -> Run | None:
    """The run of that name as it was begun, by whichever driver."""
    try:
        kept = json.loads(store.get(f"runs/{name}/task.json"))
    except KeyNotFoundError:
        return None
    return Run(**{**kept, "task": TrainTask(**{**kept["task"], "store": store.url})})


def kept_history(run: Run, store: Store) -> dict[int, dict[str, Any]]:
    """A run's metrics by epoch, as far as it has come; none where it has not begun."""
    try:
        return {row["epoch"]: row for row in json.loads(store.get(run.key("history.json")))}
    except KeyNotFoundError:
        return {}


def require_same(begun: TrainTask, asked: TrainTask, name: str) -> None:
    """Raise TrainingError where what is asked is another run than the one that was begun under this name."""
    settings = ("architecture", "dataset_id", "recipe", "height_px", "width_px", "weights_keys", "seed")
    # As JSON, which the one that was kept has been: a tuple there is a list by now.
    was, wanted = (json.loads(json.dumps(asdict(task))) for task in (begun, asked))
    other = [setting for setting in settings if was[setting] != wanted[setting]]
    if other:
        raise TrainingError(f"run {name} was begun with another {' and '.join(other)}; choose another --name")


def plan_run(options: TrainOptions, store: Store, say: Say) -> Run:
    """Settle everything that a run needs; nothing is written but the weights. Raises TrainingError."""
    most = options.max_workers or options.workers
    _check_workers(options.workers, most)
    dataset = read_card(store, options.dataset_id) if options.dataset_id else newest_dataset(store)
    if most > dataset.posters["train"]:
        raise TrainingError(f"--workers {most}: dataset {dataset.dataset_id} has fewer train posters")
    task = plan_task(
        options.architecture,
        options.recipe,
        height_px=options.height_px,
        width_px=options.width_px,
        store=store.url,
        dataset_id=dataset.dataset_id,
        weights=options.weights,
        seed=options.seed,
    )
    task = replace(task, cpus=_cpus_per_worker(options, say))
    task = task.with_weights(share_weights(options.architecture, options.weights, store))
    name = name_or_new(options.name, _short(options.architecture))
    return Run(name, task, options.workers, most, options.gpus_per_worker, options.max_failures)


def _check_workers(least: int, most: int) -> None:
    if least < 1 or most < least:
        raise TrainingError(f"--workers {least} to {most}: at least 1, the smaller number first")


def _cpus_per_worker(options: TrainOptions, say: Say) -> int:
    """The CPUs of each worker, by default an even share of those that are free now.

    Raises TrainingError where the cluster could never give them; says so where it has to be waited for them.
    """
    import ray  # noqa: PLC0415

    there, free = ray.cluster_resources(), ray.available_resources()
    cpus = options.cpus_per_worker or max(1, int(free.get("CPU", 0)) // (options.max_workers or options.workers))
    for kind, each in (("CPU", cpus), ("GPU", options.gpus_per_worker)):
        wanted = each * options.workers
        if wanted > there.get(kind, 0):
            raise TrainingError(
                f"{options.workers} workers of {each} {kind} need {wanted}, and the cluster has "
                f"{there.get(kind, 0):g}; ask for fewer --workers or --{kind.lower()}s-per-worker"
            )
        if wanted > free.get(kind, 0):
            say(f"waiting for {wanted} {kind}: {free.get(kind, 0):g} of the cluster's {there.get(kind, 0):g} are free")
    return cpus


def _short(expression: str) -> str:
    """An architecture expression as part of a run's name."""
    words = "".join(letter if letter.isalnum() or letter in "_.+-" else "-" for letter in expression)
    return words if len(words) <= 60 else f"{words[:40]}-etc"
