"""What is asked of a run, settled before anything starts."""

from __future__ import annotations

import pytest

from cluster.errors import TrainingError
from training.runs import TrainOptions, check


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (TrainOptions(architecture="cnn_smal"), "cnn_small"),
        (TrainOptions(architecture="cnn_small", recipe={"epochs": 0}), "epochs"),
        (TrainOptions(architecture="cnn_small", workers=0), "--workers 0 to 0: at least 1"),
        (TrainOptions(architecture="mobilenet_v2", weights="nowhere.h5"), "nowhere.h5 is missing"),
        (TrainOptions(architecture="cnn_small", name="no name"), "--name no name: use letters"),
    ],
)
def test_options_are_checked_without_a_dataset(options: TrainOptions, sentence: str):
    with pytest.raises(TrainingError, match=sentence):
        check(options)


def test_options_that_a_run_can_have_pass_the_check():
    check(TrainOptions(architecture="cnn_small", workers=2, recipe={"epochs": 3}))
