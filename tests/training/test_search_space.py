"""A search space: what its file may say, what it says back, and what Optuna and Ray Tune draw from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.conftest import ROOT
from training.network import default_recipe
from training.search_space import Choice, Fixed, Range, SearchSpaceError, Space, parse_space, read_space

SMALL, LARGE = "mobilenet_v2@64x64", "efficientnet_lite0@96x64+mobilenet_v2@64x64"
TEXT = f"""
architecture = ["{SMALL}", "{LARGE}"]
epochs = 7
dropout = {{ from = 0.2, to = 0.4 }}
learning_rate = {{ from = 1e-4, to = 1e-2, log = true }}
heads = {{ from = 1, to = 3 }}
pooling = [["mean"], ["mean", "max"], "rich"]
trainable = ["head", 3]
loss = ["binary_crossentropy", "focal"]
gamma = {{ from = 1, to = 4 }}

[for."efficientnet_lite0*"]
dropout = {{ from = 0.7, to = 0.9 }}
height_px = {{ from = 64, to = 128 }}
loss = ["binary_crossentropy", "asymmetric"]
"""


@pytest.fixture(scope="module")
def space() -> Space:
    return parse_space(TEXT, source="search.toml")


@pytest.fixture(scope="module")
def drawn(space: Space) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=3, n_startup_trials=10))
    found = []
    for _ in range(40):
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, found[-1]["dropout"])
    return found


def test_a_file_is_read_as_it_is_written(space: Space):
    assert space.settings["epochs"] == Fixed(7)
    assert space.settings["heads"] == Range(1, 3, log=False, whole=True)
    assert space.settings["gamma"] == Range(1.0, 4.0, log=False, whole=False)
    assert space.settings["pooling"] == Choice((["mean"], ["mean", "max"], "rich"))
    assert json.loads(json.dumps(space.as_dict()))["for"]["efficientnet_lite0*"]["height_px"]["from"] == 64


def test_every_draw_is_a_recipe_within_the_space(drawn: list[dict[str, Any]]):
    for settings in drawn:
        changes = {name: value for name, value in settings.items() if name not in ("architecture", "height_px")}
        recipe = default_recipe(settings["architecture"]).changed(changes)
        assert recipe.epochs == 7
        assert 1e-4 <= recipe.learning_rate <= 1e-2
        assert recipe.heads in (1, 2, 3)
    assert {str(settings["pooling"]) for settings in drawn} == {"['mean']", "['mean', 'max']", "rich"}


def test_a_for_table_counts_only_for_architectures_that_match(drawn: list[dict[str, Any]]):
    assert {settings["architecture"] for settings in drawn} == {SMALL, LARGE}
    for settings in drawn:
        is_large = settings["architecture"] == LARGE
        assert ("height_px" in settings) == is_large
        assert (settings["dropout"] >= 0.7) == is_large
        assert settings["loss"] != ("focal" if is_large else "asymmetric")


def test_gamma_is_drawn_only_for_a_loss_that_reads_it(drawn: list[dict[str, Any]]):
    assert {(settings["loss"], "gamma" in settings) for settings in drawn} == {
        ("binary_crossentropy", False),
        ("focal", True),
        ("asymmetric", True),
    }


def test_ray_tune_draws_conditional_settings(space: Space):
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(
        space=lambda trial: {"settings": space.suggest(trial)},
        metric="score",
        mode="max",
        seed=1,
        points_to_evaluate=None,
    )
    for number in range(12):
        settings = search.suggest(f"t{number}")["settings"]
        assert ("height_px" in settings) == (settings["architecture"] == LARGE)
        search.on_trial_complete(f"t{number}", {"score": settings["dropout"]})


def test_the_later_of_two_tables_counts():
    text = f'architecture = ["{SMALL}"]\nheads = [1, 2]\n[for."*"]\nepochs = 3\n[for."mobilenet*"]\nepochs = 4\n'
    space = parse_space(text, source="s")
    trial = optuna.trial.FixedTrial({"heads": 2})
    assert space.suggest(trial) == {"architecture": SMALL, "heads": 2, "epochs": 4}


def test_the_example_is_a_space_and_names_what_it_should():
    space = read_space(ROOT / "training" / "search.toml")
    assert len(space.architectures) == 3
    wanted = "pooling dropout hidden_units learning_rate weight_decay augmentation label_smoothing heads epochs"
    assert set(wanted.split()) <= set(space.settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = 3", "s.toml: architecture is missing"),
        ("epochs = ", "s.toml is no TOML"),
        ('architecture = "lenet"', "s.toml, architecture: no architecture 'lenet'"),
        ('architecture = ["mobilenet_v2@9x9"]', "too small"),
        ("architecture = 3", "s.toml, architecture: write a name"),
        ("heads = 1", "s.toml: nothing varies"),
        ("learning_rte = [1, 2]", "s.toml, learning_rte: there is no such setting; there are architecture, height_px"),
        ("dropout = [0.5, 1.5]", "s.toml, dropout 1.5: Input should be less than 1"),
        ('loss = "mse"', "s.toml, loss 'mse': Input should be 'binary_crossentropy'"),
        ("heads = []", "s.toml, heads: a list is choices, and this one has none"),
        (
            "augmentation = []",
            "s.toml, augmentation: a list is choices, and this one has none; for an empty augmentation",
        ),
        ("heads = [2, 2]", "s.toml, heads: a choice is there twice"),
        ("pooling = 5", "s.toml, pooling 5: a choice is a list of words"),
        ('pooling = [["mean"], ["median"]]', "s.toml, pooling ['median']: Input should be 'mean'"),
        ("dropout = { from = 0.1 }", "s.toml, dropout: write { from = 1e-4"),
        ("dropout = { from = 0.1, to = 0.5, lg = true }", "s.toml, dropout: write { from = 1e-4"),
        ("dropout = { from = 0.5, to = 0.1 }", "s.toml, dropout: from 0.5 to 0.1 is no range"),
        ("dropout = { from = 0.5, to = 1 }", "s.toml, dropout 1.0: Input should be less than 1"),
        ("dropout = { from = 0.0, to = 0.5, log = true }", "s.toml, dropout: with log = true, from is above 0"),
        ("learning_rate = { from = 1, to = inf }", "s.toml, learning_rate: from 1 to inf is no range"),
        ("learning_rate = [0.1, inf]", "s.toml, learning_rate inf: a setting is a finite number"),
        ("heads = { from = 1, to = 2.5 }", "s.toml, heads: from and to are whole numbers"),
        ("loss = { from = 1, to = 2 }", "s.toml, loss 1: Input should be 'binary_crossentropy'"),
        ("width_px = [16, 64]", "s.toml, width_px: architecture mobilenet_v2: 224x16 is too small"),
        ("width_px = ['x', 64]", "s.toml, width_px 'x': a size is a whole number of pixels"),
        ('for = "x"', 's.toml, for: write [for."PATTERN"]'),
        ('[for."vgg*"]\nheads = 2', 's.toml, for."vgg*" matches none of the architectures mobilenet_v2'),
        ('[for."mob*"]\nhead = 2', 's.toml, for."mob*".head: there is no such setting'),
        ('[for."mob*"]\narchitecture = "vgg16_last4"', "architectures stand at the top"),
    ],
)
def test_what_a_space_cannot_say_is_told_in_a_sentence(text: str, said: str):
    has_architecture = text.startswith(("architecture", "epochs"))
    whole = text if has_architecture else f'architecture = "mobilenet_v2"\n{text}'
    with pytest.raises(SearchSpaceError) as caught:
        parse_space(whole, source="s.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(SearchSpaceError, match="cannot be read: No such file"):
        read_space(tmp_path / "search.toml")
