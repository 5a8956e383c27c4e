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
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util import get_node_ip_address
from ray.util.queue import Queue

from cluster.errors import KeyNotFoundError, TrainingError
from cluster.nodes import beside_driver
from cluster.store import Store, open_store
from training.dataset import newest_dataset, read_card
from training.features import make_features
from training.leaderboard import State, Trial, has_score, ranked
from training.leaderboard_page import leaderboard_page
from training.parts import parts_of, weights_files
from training.quiet import start_tensorflow
from training.recipe import Recipe
from training.registry import Registry
from training.runs import Run, Say, checked_name
from training.search_space import Space, parse_space
from training.study import DRAWN, NUMBER, drawing, halving
from training.task import TrainTask, build_task_network, plan_task, share_weights
from training.train import Events, TrainResult, carry_out, fit, followed, kept_history, prior_map
from training.worker import SCORE

_SIZES = ("height_px", "width_px")
# In place of a trial's number in the name of the run that refits it.
_WINNER = "winner"
# Ray gives each node one of a resource with its name.
_ANY_PART = 0.0001


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


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The trials, and the registered winner."""

    name: str
    trials: list[Trial]
    winner: Trial
    trained: TrainResult
    page_url: str


def finished(trials: Sequence[Trial]) -> int:
    """How many trials count for the budget: those that failed or were cut do not."""
    return sum(trial.is_over() for trial in trials)


def plan_search(options: SearchOptions, store: Store) -> Search:
    """Settle everything that a search needs. Raises TrainingError before anything starts."""
    _check_budget(options.trials, options.minutes)
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
        name=checked_name(options.name) or f"search-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
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


def search(
    options: SearchOptions, store: Store, say: Say, on_event: Events = lambda event: None, *, tracking: str = "none"
) -> SearchResult:
    """Search, refit the winner, evaluate it once on the test split, register it. Ray must be connected.

    A search that was named and has begun goes on; of one that has ended the result is returned.
    """
    planned = plan_search(options, store)
    begun = _kept_search(planned.name, store) if options.name else None
    if begun is not None:
        _require_same(begun, planned)
        if Registry(store).has(version := planned.run_name(_WINNER)):
            say(f"search {planned.name} has ended and its model is registered")
            return _ended(planned, store, version)
        say(f"search {planned.name} has begun; it goes on")
        # A new budget is as with `resume_search`.
        planned = replace(begun, trials=planned.trials, minutes=planned.minutes)
    planned.keep(store)
    return _carry_out(planned, store.patient(), say, on_event, tracking=tracking)


def check(options: SearchOptions) -> None:
    """Raise TrainingError for options that no search can have, whatever its dataset."""
    checked_name(options.name)
    _check_budget(options.trials, options.minutes)
    for expression in parse_space(options.space, source=options.space_name).architectures:
        if _takes_weights(expression):
            weights_files(expression, options.weights)


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
    planned = _kept_search(name, store)
    if planned is None:
        raise TrainingError(f"{store.url} has no search {name}; `onesheet tune` names each as it starts")
    planned = replace(
        planned,
        trials=planned.trials if trials is None else trials,
        minutes=planned.minutes if minutes is None else minutes,
    )
    _check_budget(planned.trials, planned.minutes)
    version = planned.run_name(_WINNER)
    if Registry(store).has(version):
        raise TrainingError(f"search {name} has ended and its model is registered: `onesheet models show {version}`")
    planned.keep(store)
    return _carry_out(planned, store.patient(), say, on_event, tracking=tracking)


def _kept_search(name: str, store: Store) -> Search | None:
    try:
        return Search(**{**json.loads(store.get(f"runs/{name}/search.json")), "store": store.url})
    except KeyNotFoundError:
        return None


def _require_same(begun: Search, asked: Search) -> None:
    """Raise TrainingError where what is asked is another search than the one that was begun under this name."""
    settings = ("dataset_id", "space", "weights_keys", "seed")
    other = [setting for setting in settings if getattr(begun, setting) != getattr(asked, setting)]
    if other:
        raise TrainingError(f"search {asked.name} was begun with another {' and '.join(other)}; choose another --name")


def _ended(planned: Search, store: Store, version: str) -> SearchResult:
    """The result of a search whose winner is registered."""
    trials = [Trial.from_row(row) for row in json.loads(store.get(planned.key("trials.json")))]
    card = Registry(store).card(version)
    winner = next(trial for trial in trials if trial.run == card.lineage["trial"])
    page_url = store.url_of(planned.key("leaderboard.html"))
    return SearchResult(planned.name, trials, winner, TrainResult(version, card), page_url)


def _takes_weights(expression: str) -> bool:
    return all(part.architecture.takes_weights for part in parts_of(expression))


def _check_budget(trials: int, minutes: float | None) -> None:
    if trials < 1 or (minutes is not None and minutes <= 0):
        raise TrainingError(f"--trials {trials} --minutes {minutes}: a search needs some of each")


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
    refit = planned.run_of(_WINNER, best.drawn)
    refit.keep(store)
    lineage: dict[str, str | int] = {"search": planned.name, "trial": best.run, "trials": finished(board.trials)}
    trained = carry_out(refit, store, say, on_event, tracking=tracking, lineage=lineage)
    board.write(winner=best, metrics=trained.card.metrics)
    return SearchResult(planned.name, board.trials, best, trained, store.url_of(planned.key("leaderboard.html")))


class Board:
    """The trials as they come and go: kept in the store, and told."""

    def __init__(self, planned: Search, store: Store, say: Say, on_event: Events) -> None:
        self._search, self._store, self._say, self._on_event = planned, store, say, on_event
        self._card = read_card(store, planned.dataset_id)
        try:
            kept = json.loads(store.get(planned.key("trials.json")))
        except KeyNotFoundError:
            kept = []
        self._trials = {row["number"]: Trial.from_row(row) for row in kept}

    @property
    def trials(self) -> list[Trial]:
        """All trials by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    def begun(self, config: Mapping[str, Any]) -> None:
        """A trial starts: kept at once, for should the driver die now, it is drawn again."""
        number, drawn = config[NUMBER], config[DRAWN]
        self._trials[number] = Trial(
            number=number,
            run=self._search.run_name(number),
            state="running",
            architecture=drawn["architecture"],
            settings={name: value for name, value in drawn.items() if name != "architecture"},
        )
        self.write()

    def ended(self, config: Mapping[str, Any], state: State, remark: str = "") -> None:
        """A trial is over: read what its run left, keep it, tell it."""
        trial = self._trials[config[NUMBER]] = self._account(self._trials[config[NUMBER]], state, remark)
        self.write()
        words = [f"trial {trial.number}/{self._search.trials}", trial.architecture]
        if trial.score is None:
            words.append(f"failed: {remark or 'its log may say why'}")
        else:
            words.append(f"validation mAP {trial.score:.3f}")
            words.append(f"{trial.epochs} epochs{' (ended early)' if state == 'stopped' else ''}")
        if best := next(filter(has_score, ranked(self.trials)), None):
            words.append(f"best {best.score:.3f}")
        self._say("  ".join(words))
        self._on_event({"what": "trials", "step": len(self._trials), "steps": self._search.trials})

    def cut(self) -> None:
        """The search is over: what a smaller budget left unfinished goes no further."""
        running = [trial for trial in self.trials if trial.state == "running"]
        for trial in running:
            self._trials[trial.number] = self._account(trial, "stopped", "the budget ended before it")
        if running:
            self.write()

    def _account(self, trial: Trial, state: State, remark: str) -> Trial:
        history = list(kept_history(self._search.run_of(trial.number, trial.drawn), self._store).values())
        return replace(
            trial,
            state=state,
            score=max((row[SCORE] for row in history), default=None),
            epochs=len(history),
            seconds=sum(row["seconds"] for row in history),
            history=tuple({name: row[name] for name in ("epoch", "loss", SCORE, "seconds")} for row in history),
            remark=remark,
        )

    def write(self, winner: Trial | None = None, metrics: Mapping[str, float] | None = None) -> None:
        """Keep the trials and their page."""
        rows = json.dumps([trial.as_row() for trial in self.trials]).encode()
        self._store.put(self._search.key("trials.json"), rows, content_type="application/json")
        page = leaderboard_page(
            self._search.name,
            self.trials,
            space=self._search.read_space().as_dict(),
            winner=winner,
            winner_metrics=dict(metrics) if metrics else None,
            prior=prior_map(self._card),
        )
        self._store.put(self._search.key("leaderboard.html"), page.encode(), content_type="text/html")


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
