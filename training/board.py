"""The trials of a search as they come and go: kept in the store, drawn as a page, and told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cluster.errors import KeyNotFoundError
from cluster.store import Store
from training.dataset_card import prior_map, read_card
from training.leaderboard import State, Trial, has_score, ranked
from training.leaderboard_page import leaderboard_page
from training.runs import kept_history
from training.searches import Search
from training.study import DRAWN, NUMBER
from training.telling import Events, Say
from training.worker import SCORE


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
