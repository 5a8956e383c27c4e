"""What a search is: what is asked of it, settled before it starts, and kept in the store under its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.errors import KeyNotFoundError, TrainingError
from cluster.store import Store
from training.dataset_card import newest_dataset, read_card
from training.parts import parts_of, weights_files
from training.recipe import Recipe
from training.runs import Run, checked_name, name_or_new
from training.search_space import Space, parse_space
from training.task import plan_task, share_weights

# In place of a trial's number in the name of the run that refits it.
WINNER = "winner"
_SIZES = ("height_px", "width_px")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What a user asks of a search.

    space: the text of a search space, `space_name` its file's name for errors. trials, minutes: the budget; whichever
    ends first. workers: of each trial. concurrent: trials at the same time, None for as many as the CPUs allow.
    name: the user's own for the search, which goes on where it has begun; None for a new one each time.
    """

    space: str
    space_name: str
    dataset_id: str | None = None
    trials: int
    minutes: float | None = None
    workers: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: int = 0
    concurrent: int | None = None
    weights: str = "none"
    seed: int = 0
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search as it is kept in the store, and as its trials get it. weights_keys: by architecture expression."""

    name: str
    store: str
    dataset_id: str
    space: str
    space_name: str
    trials: int
    minutes: float | None
    workers: int
    cpus: int
    gpus_per_worker: int
    concurrent: int
    weights: str
    weights_keys: dict[str, dict[str, str]] = field(default_factory=dict)
    seed: int

    def key(self, file: str) -> str:
        """Where a file of the search is."""
        return f"runs/{self.name}/{file}"

    def keep(self, store: Store) -> None:
        """Put what was asked into the store."""
        text = json.dumps(asdict(self), indent=2).encode()
        store.put(self.key("search.json"), text, content_type="application/json")

    def read_space(self) -> Space:
        """The space, checked."""
        return parse_space(self.space, source=self.space_name)

    def run_of(self, trial: int | str, drawn: Mapping[str, Any]) -> Run:
        """The run of a trial, by its number, with what was drawn for it; or of the `winner`."""
        expression = drawn["architecture"]
        task = plan_task(
            expression,
            {name: value for name, value in drawn.items() if name in Recipe.model_fields},
            **{name: drawn[name] for name in _SIZES if name in drawn},
            store=self.store,
            dataset_id=self.dataset_id,
            weights=self.weights_of(expression),
            seed=self.seed,
            cpus=self.cpus,
        ).with_weights(self.weights_keys[expression])
        return Run(self.run_name(trial), task, self.workers, self.workers, self.gpus_per_worker, max_failures=2)

    def run_name(self, trial: int | str) -> str:
        """Of a trial by its number, or of the `winner`."""
        return f"{self.name}-{trial}"

    def weights_of(self, expression: str) -> str:
        """`imagenet` or `none`, where there is no file: what is trained from scratch takes none."""
        return self.weights if _takes_weights(expression) and self.weights == "imagenet" else "none"


def check(options: SearchOptions) -> None:
    """Raise TrainingError for options that no search can have, whatever its dataset."""
    checked_name(options.name)
    check_budget(options.trials, options.minutes)
    for expression in parse_space(options.space, source=options.space_name).architectures:
        if _takes_weights(expression):
            weights_files(expression, options.weights)


def check_budget(trials: int, minutes: float | None) -> None:
    """Raise TrainingError for a budget in which no trial has room."""
    if trials < 1 or (minutes is not None and minutes <= 0):
        raise TrainingError(f"--trials {trials} --minutes {minutes}: a search needs some of each")


def kept_search(name: str, store: Store) -> Search | None:
    """The search of that name as it was begun, by whichever driver."""
    try:
        return Search(**{**json.loads(store.get(f"runs/{name}/search.json")), "store": store.url})
    except KeyNotFoundError:
        return None


def require_same(begun: Search, asked: Search) -> None:
    """Raise TrainingError where what is asked is another search than the one that was begun under this name."""
    settings = ("dataset_id", "space", "weights_keys", "seed")
    other = [setting for setting in settings if getattr(begun, setting) != getattr(asked, setting)]
    if other:
        raise TrainingError(f"search {asked.name} was begun with another {' and '.join(other)}; choose another --name")


def plan_search(options: SearchOptions, store: Store) -> Search:
    """Settle everything that a search needs. Raises TrainingError before anything starts."""
    import ray  # noqa: PLC0415

    check_budget(options.trials, options.minutes)
    space = parse_space(options.space, source=options.space_name)
    dataset = read_card(store, options.dataset_id) if options.dataset_id else newest_dataset(store)
    there = ray.cluster_resources()
    cpus = options.cpus_per_worker or max(1, int(there.get("CPU", 1)) // (options.workers * (options.concurrent or 1)))
    room = int(there.get("CPU", 1)) // (cpus * options.workers)
    if options.gpus_per_worker:
        room = min(room, int(there.get("GPU", 0)) // (options.gpus_per_worker * options.workers))
    if room < 1:
        raise TrainingError(
            f"a trial of {options.workers} workers of {cpus} CPU and {options.gpus_per_worker} GPU does not fit into "
            f"the cluster's {there.get('CPU', 0):g} CPU and {there.get('GPU', 0):g} GPU; ask for fewer --workers"
        )
    keys = {}
    for expression in space.architectures:
        keys[expression] = share_weights(expression, options.weights, store) if _takes_weights(expression) else {}
    return Search(
        name=name_or_new(options.name, "search"),
        store=store.url,
        dataset_id=dataset.dataset_id,
        space=options.space,
        space_name=options.space_name,
        trials=options.trials,
        minutes=options.minutes,
        workers=options.workers,
        cpus=cpus,
        gpus_per_worker=options.gpus_per_worker,
        # Ray Tune does not reserve what a trial's Ray Train workers take.
        concurrent=min(options.concurrent or room, room),
        weights=options.weights,
        weights_keys=keys,
        seed=options.seed,
    )


def _takes_weights(expression: str) -> bool:
    return all(part.architecture.takes_weights for part in parts_of(expression))
