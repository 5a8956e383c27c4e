"""What a search draws with is told of all that it has tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from training.leaderboard import State, Trial
from training.search_space import parse_space
from training.study import DRAWN, NUMBER, drawing, halving
from training.worker import SCORE

SPACE = parse_space(
    """
    architecture = ["cnn_small@48x32", "cnn_small@64x48"]
    epochs = 9
    learning_rate = { from = 1e-4, to = 1e-2, log = true }
    pooling = [["mean"], ["mean", "max"]]
    heads = { from = 1, to = 4 }
    [for."cnn_small@64*"]
    dropout = { from = 0.5, to = 0.9 }
    """,
    source="space.toml",
)


def draw(past: list[Trial], count: int) -> list[dict[str, Any]]:
    search = drawing(SPACE, past, seed=0)
    found = [search.suggest(f"trial-{number}") for number in range(count)]
    return [dict(one) for one in found if one is not None]


def trial(config: dict[str, Any], state: State, score: float | None, epochs: int = 0) -> Trial:
    settings = dict(config[DRAWN])
    history = tuple({"epoch": epoch, SCORE: score, "seconds": 1.0} for epoch in range(1, epochs + 1))
    return Trial(
        number=config[NUMBER],
        run=f"search-{config[NUMBER]}",
        state=state,
        architecture=settings.pop("architecture"),
        settings=settings,
        score=score,
        history=history,
    )


def test_trials_are_numbered_as_they_are_drawn():
    assert [config[NUMBER] for config in draw([], 4)] == [1, 2, 3, 4]


def test_what_came_to_no_end_is_drawn_again_first_with_its_number_and_its_settings():
    begun = draw([], 6)
    states: list[State] = ["ended", "running", "stopped", "failed", "ended", "running"]
    past = [trial(config, state, 0.3) for config, state in zip(begun, states, strict=True)]
    again = draw(past, 5)
    assert [config[NUMBER] for config in again] == [2, 4, 6, 7, 8]
    assert [config[DRAWN] for config in again[:3]] == [begun[1][DRAWN], begun[3][DRAWN], begun[5][DRAWN]]
    known = [config[DRAWN] for config in begun]
    assert not [config for config in again[3:] if config[DRAWN] in known]


def test_a_trial_from_the_store_is_drawn_as_it_was():
    begun = draw([], 1)[0]
    kept = Trial.from_row(trial(begun, "running", None).as_row())
    assert draw([kept], 1)[0][DRAWN] == begun[DRAWN]


def test_optuna_learns_from_the_past():
    begun = draw([], 40)
    good = [0.9 if config[DRAWN]["heads"] == 4 else 0.1 for config in begun]
    past = [trial(config, "ended", score) for config, score in zip(begun, good, strict=True)]
    before = sum(config[DRAWN]["heads"] == 4 for config in begun) / len(begun)
    after = sum(config[DRAWN]["heads"] == 4 for config in draw(past, 20)) / 20
    assert after > before + 0.2


def test_asha_compares_new_trials_with_the_past():
    past = [trial(config, "ended", 0.6 + config[NUMBER] / 100, epochs=9) for config in draw([], 9)]

    def says(score: float, known: list[Trial]) -> str:
        scheduler = halving(SPACE, known)
        new: Any = SimpleNamespace(trial_id="new")
        scheduler.on_trial_add(None, new)
        said = [scheduler.on_trial_result(None, new, {"epoch": epoch, SCORE: score}) for epoch in (1, 2, 3)]
        assert said[:2] == [TrialScheduler.CONTINUE] * 2, "two epochs say little"
        return str(said[2])

    assert says(0.1, []) == TrialScheduler.CONTINUE
    assert says(0.1, past) == TrialScheduler.STOP
    assert says(0.9, past) == TrialScheduler.CONTINUE
