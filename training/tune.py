"""A search: Ray Tune draws architectures and settings, each trial is a Ray Train run, and the winner is refitted.

    runs/<search>/search.json       what was asked: with it a search goes on after its driver has died
    runs/<search>/trials.json       a row a trial, and leaderboard.html, the same as a page: as trials come and go
    runs/<search>/tune/…            Ray Tune's own account
    runs/<search>-<number>/…        each trial's run

Optuna draws and ASHA ends the hopeless early (`training.study`).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import ray
from ray import tune
from ray.util import get_node_ip_address
from ray.util.queue import Queue

from cluster.errors import TrainingError
from cluster.nodes import beside_driver
from cluster.store import Store
from training.board import Board
from training.leaderboard import Trial, finished, has_score, ranked
from training.registry import Registry
from training.searches import (
    WINNER,
    Search,
    SearchOptions,
    check_budget,
    kept_search,
    plan_search,
    require_same,
)
from training.study import drawing, halving
from training.telling import Events, Say, followed
from training.train import TrainResult, carry_out
from training.trial_worker import FeatureDesk, run_trial

# Ray gives each node one of a resource with its name.
_ANY_PART = 0.0001


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The trials, and the registered winner."""

    name: str
    trials: list[Trial]
    winner: Trial
    trained: TrainResult
    page_url: str


def search(
    options: SearchOptions, store: Store, say: Say, on_event: Events = lambda event: None, *, tracking: str = "none"
) -> SearchResult:
    """Search, refit the winner, evaluate it once on the test split, register it. Ray must be connected.

    A search that was named and has begun goes on; of one that has ended the result is returned.
    """
    planned = plan_search(options, store)
    begun = kept_search(planned.name, store) if options.name else None
    if begun is not None:
        require_same(begun, planned)
        if Registry(store).has(version := planned.run_name(WINNER)):
            say(f"search {planned.name} has ended and its model is registered")
            return _ended(planned, store, version)
        say(f"search {planned.name} has begun; it goes on")
        # A new budget is as with `resume_search`.
        planned = replace(begun, trials=planned.trials, minutes=planned.minutes)
    planned.keep(store)
    return _carry_out(planned, store.patient(), say, on_event, tracking=tracking)


def resume_search(
    name: str,
    store: Store,
    say: Say,
    on_event: Events = lambda event: None,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    tracking: str = "none",
) -> SearchResult:
    """Go on with a search whose driver died: its finished trials count, the unfinished ones go on.

    trials, minutes: a new budget of the whole search, where given. If the trials there are use it up, the winner of
    these is refitted at once.
    """
    planned = kept_search(name, store)
    if planned is None:
        raise TrainingError(f"{store.url} has no search {name}; `onesheet tune` names each as it starts")
    planned = replace(
        planned,
        trials=planned.trials if trials is None else trials,
        minutes=planned.minutes if minutes is None else minutes,
    )
    check_budget(planned.trials, planned.minutes)
    version = planned.run_name(WINNER)
    if Registry(store).has(version):
        raise TrainingError(f"search {name} has ended and its model is registered: `onesheet models show {version}`")
    planned.keep(store)
    return _carry_out(planned, store.patient(), say, on_event, tracking=tracking)


def _ended(planned: Search, store: Store, version: str) -> SearchResult:
    """The result of a search whose winner is registered."""
    trials = [Trial.from_row(row) for row in json.loads(store.get(planned.key("trials.json")))]
    card = Registry(store).card(version)
    winner = next(trial for trial in trials if trial.run == card.lineage["trial"])
    page_url = store.url_of(planned.key("leaderboard.html"))
    return SearchResult(planned.name, trials, winner, TrainResult(version, card), page_url)


def _carry_out(planned: Search, store: Store, say: Say, on_event: Events, *, tracking: str) -> SearchResult:
    budget = f"{planned.trials} trials" + (f" or {planned.minutes:g} minutes" if planned.minutes else "")
    say(f"search {planned.name}: {budget}, {planned.concurrent} at a time, {planned.workers} worker(s) each")
    board = _boards[planned.name] = Board(planned, store, say, on_event)
    try:
        _tune(planned, store, board.trials, say, on_event)
    finally:
        del _boards[planned.name]
    board.cut()
    best = next(filter(has_score, ranked(board.trials)), None)
    if best is None:
        reasons = {trial.remark for trial in board.trials if trial.remark}
        raise TrainingError(
            f"search {planned.name}: no trial came to a score; {'; '.join(sorted(reasons)) or 'none ran'}"
        )
    say(f"the winner is trial {best.number} with {best.score:.3f}: refitted, and measured once on the test split")
    refit = planned.run_of(WINNER, best.drawn)
    refit.keep(store)
    lineage: dict[str, str | int] = {"search": planned.name, "trial": best.run, "trials": finished(board.trials)}
    trained = carry_out(refit, store, say, on_event, tracking=tracking, lineage=lineage)
    board.write(winner=best, metrics=trained.card.metrics)
    return SearchResult(planned.name, board.trials, best, trained, store.url_of(planned.key("leaderboard.html")))


# Ray Tune keeps its callbacks with its state; what they tell is of this process. By the search's name.
_boards: dict[str, Board] = {}


class Tell(tune.Callback):
    """Tells the board of a search of each trial that begins and ends."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        _boards[self._name].begun(trial.config)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        has_ended = (trial.last_result or {}).get("has_ended", False)
        _boards[self._name].ended(trial.config, "ended" if has_ended else "stopped")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        error = trial.get_error()
        # Ray's own text is a traceback of two processes.
        cause = getattr(error, "cause", None) or error
        _boards[self._name].ended(trial.config, "failed", str(cause).strip().partition("\n")[0] or type(cause).__name__)


def _tune(planned: Search, store: Store, past: Sequence[Trial], say: Say, on_event: Events) -> None:
    """Draw and run the trials that are left of the budget.

    Not with Ray Tune's own way to go on: it saves its state now and then, in several files, and what ended after the
    last time would be run again.
    """
    trials = planned.trials - finished(past)
    # What the trials took that ran side by side, as far as they are known of.
    seconds = planned.minutes and planned.minutes * 60 - sum(trial.seconds for trial in past) / planned.concurrent
    if trials < 1 or (seconds is not None and seconds <= 0):
        return
    # It tells of itself in the middle of our lines otherwise.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # A failed trial is told in one line; Ray Tune keeps its traceback beside its account.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    filesystem, root = store.filesystem()
    space = planned.read_space()
    events = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": beside_driver()})
    desk = ray.remote(FeatureDesk).options(num_cpus=0, max_restarts=2, max_task_retries=2)
    parameters = {"planned": asdict(planned), "events": events, "desk": desk.remote(asdict(planned))}
    tuner = tune.Tuner(
        # A trial only waits for its run's workers, which ask for CPUs themselves, on any node. It stays on this one, so
        # that no other node's death ends it.
        tune.with_resources(
            tune.with_parameters(run_trial, **parameters), {f"node:{get_node_ip_address()}": _ANY_PART}
        ),
        tune_config=tune.TuneConfig(
            search_alg=drawing(space, past, seed=planned.seed),
            scheduler=halving(space, past),
            num_samples=trials,
            time_budget_s=seconds,
            max_concurrent_trials=planned.concurrent,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=f"{root}/{planned.key('')}".rstrip("/"),
            storage_filesystem=filesystem,
            verbose=0,
            callbacks=[Tell(planned.name)],
        ),
    )
    with followed(events, lambda event: say(event) if isinstance(event, str) else on_event(event)):
        tuner.fit()
