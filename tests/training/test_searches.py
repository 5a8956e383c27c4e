"""What is asked of a search, settled before anything starts."""

from __future__ import annotations

import pytest

from cluster.errors import TrainingError
from cluster.nodes import connect
from cluster.settings import load_settings
from cluster.store import FolderStore
from training.dataset import Card
from training.searches import SearchOptions, check, kept_search, plan_search

SPACE = """
architecture = ["cnn_small@48x32", "mobilenet_v2@48x32"]
epochs = 2
learning_rate = { from = 1e-4, to = 1e-2, log = true }
"""


@pytest.mark.slow
def test_what_cannot_be_searched_is_said_before_anything_starts(dataset: tuple[FolderStore, Card]):
    store, _ = dataset

    def refused(**options: object) -> str:
        with pytest.raises(TrainingError) as error:
            plan_search(SearchOptions(**{"space": SPACE, "space_name": "space.toml", "trials": 4, **options}), store)  # type: ignore[arg-type]
        return str(error.value)

    with connect(load_settings(), num_cpus=2):
        assert "a search needs some of each" in refused(trials=0)
        assert "does not fit into the cluster's 2 CPU" in refused(workers=3, cpus_per_worker=1)
        assert "space.toml" in refused(space="architecture = 'resnet'\n")
        assert "has no dataset 'ds-nope'" in refused(dataset_id="ds-nope")


@pytest.mark.slow
def test_a_search_that_is_kept_is_found_by_its_name(dataset: tuple[FolderStore, Card]):
    store, _ = dataset
    with connect(load_settings(), num_cpus=2):
        planned = plan_search(SearchOptions(space=SPACE, space_name="space.toml", trials=4, name="kept"), store)
    assert kept_search("kept", store) is None
    planned.keep(store)
    assert kept_search("kept", store) == planned


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trials": 0}, "a search needs some of each"),
        ({"minutes": 0.0}, "a search needs some of each"),
        ({"name": "no name"}, "--name no name: use letters"),
        ({"space": "architecture = 'resnet'\n"}, "space.toml"),
        ({"weights": "nowhere.h5"}, "nowhere.h5 is missing"),
    ],
)
def test_options_are_checked_without_a_dataset(options: dict[str, object], sentence: str):
    with pytest.raises(TrainingError, match=sentence):
        check(SearchOptions(**{"space": SPACE, "space_name": "space.toml", "trials": 4, **options}))  # type: ignore[arg-type]
