"""What Ray Tune draws trials with, and ends the hopeless by, told of all that a search has tried before.

Neither Optuna's nor ASHA's own state is needed to go on with a search: the trials as the store has them are enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from training.leaderboard import Trial, has_score
from training.parts import default_recipe
from training.search_space import Choice, Fixed, Range, Space
from training.worker import SCORE

# In a trial's configuration: its number in the search, and what was drawn for it.
NUMBER = "number"
DRAWN = "drawn"
_NAME = "search"
_REDUCTION = 3
_FIRST_RUNG = 3


def drawing(space: Space, past: Sequence[Trial], *, seed: int) -> OptunaSearch:
    """Optuna's Tree-structured Parzen Estimator (Bergstra et al. 2011), which knows the past trials.

    A trial's configuration has its `number` and what was `drawn`. Those of the past that came to no end are drawn
    first, as they were and with the numbers that they had.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    # A sampler begins its random draws anew: with the same seed they would be those that were tried.
    sampler = optuna.samplers.TPESampler(seed=seed + len(past))
    study = optuna.create_study(storage=storage, sampler=sampler, study_name=_NAME, direction="maximize")
    for trial in filter(Trial.is_over, past):
        study.enqueue_trial(space.names_of(trial.drawn))
        asked = study.ask()
        space.suggest(asked)
        study.tell(asked, trial.score) if has_score(trial) else study.tell(asked, state=optuna.trial.TrialState.FAIL)
    for trial in past:
        if not trial.is_over():
            study.enqueue_trial(space.names_of(trial.drawn), user_attrs={NUMBER: trial.number})
    draw = _Draw(space, last=max((trial.number for trial in past), default=0))
    return OptunaSearch(draw, metric=SCORE, mode="max", sampler=sampler, study_name=_NAME, storage=storage)


class _Draw:
    """A space as OptunaSearch calls it; new trials get the numbers after `last`."""

    def __init__(self, space: Space, last: int) -> None:
        self._space, self._last = space, last

    def __call__(self, trial: Any) -> dict[str, Any]:
        number = trial.user_attrs.get(NUMBER)
        if number is None:
            number = self._last = self._last + 1
        return {NUMBER: number, DRAWN: self._space.suggest(trial)}


def halving(space: Space, past: Sequence[Trial]) -> ASHAScheduler:
    """ASHA (Li et al. 2020): of all trials, the past among them, the best third goes on at each rung.

    The first is at a ninth of the epochs, or at the third: before that a score says more of the learning rate than of
    where a trial will end. Each next rung is at three times as many.
    """
    longest = max(_longest(space, expression) for expression in space.architectures)
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric=SCORE,
        mode="max",
        max_t=longest,
        grace_period=min(longest, max(_FIRST_RUNG, longest // _REDUCTION**2)),
        reduction_factor=_REDUCTION,
    )
    for trial in filter(Trial.is_over, past):
        known: Any = SimpleNamespace(trial_id=trial.run)
        scheduler.on_trial_add(None, known)
        for row in trial.history:
            scheduler.on_trial_result(None, known, dict(row))
    return scheduler


def _longest(space: Space, expression: str) -> int:
    """The most epochs that a trial of an architecture may have."""
    _, setting = space.settings_for(expression).get("epochs", ("", None))
    match setting:
        case Range():
            return int(setting.high)
        case Choice():
            return int(max(setting.values))
        case Fixed():
            return int(setting.value)
    return default_recipe(expression).epochs
