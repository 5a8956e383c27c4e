"""The predictor: bytes in, ranked genres out, each image for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.outcomes import Reason, Rejected
from serving.predictor import Prediction, Predictor
from tests.serving.conftest import Poster, Register
from training.bundle import BundleError
from training.registry import Registry


@pytest.fixture
def predictor(registry: Registry, register: Register, tmp_path: Path) -> Predictor:
    register("v1")
    card = registry.fetch("v1", tmp_path / "fetched")
    return Predictor.load(tmp_path / "fetched", card, max_pixels=100_000)


def test_genres_come_highest_score_first_and_pass_at_their_own_threshold(predictor: Predictor, poster: Poster) -> None:
    [outcome] = predictor.predict([poster("magenta")])
    assert isinstance(outcome, Prediction)
    assert [genre.genre for genre in outcome.genres][-1] == "Green"
    assert {genre.genre: genre.passes for genre in outcome.genres} == {"Red": True, "Blue": True, "Green": False}
    scores = [genre.score for genre in outcome.genres]
    assert scores == sorted(scores, reverse=True)
    assert set(outcome.predicted) == {"Red", "Blue"}
    assert outcome.decode_ms > 0
    assert outcome.predict_ms > 0


def test_a_bad_image_never_spoils_its_neighbours(predictor: Predictor, poster: Poster) -> None:
    first, text, large, cut, last = predictor.predict(
        [poster("red"), b"no image", poster("red", size=(400, 400)), poster("red")[:-200], poster("blue")]
    )
    assert isinstance(first, Prediction)
    assert first.predicted == ("Red",)
    assert [it.reason for it in (text, large, cut) if isinstance(it, Rejected)] == [
        Reason.NOT_AN_IMAGE,
        Reason.TOO_MANY_PIXELS,
        Reason.TRUNCATED,
    ]
    assert isinstance(last, Prediction)
    assert last.predicted == ("Blue",)


def test_more_images_than_a_batch_keep_their_order(predictor: Predictor, poster: Poster) -> None:
    colors = ["red", "lime", "blue"] * 13
    outcomes = predictor.predict([poster(color) for color in colors])
    first = [outcome.genres[0].genre for outcome in outcomes if isinstance(outcome, Prediction)]
    assert first == ["Red", "Green", "Blue"] * 13


def test_no_image_and_only_bad_images_need_no_model(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert all(isinstance(outcome, Rejected) for outcome in predictor.predict([b"", b"x"]))


def test_a_model_that_scores_nan_is_refused_at_load(register: Register, registry: Registry, tmp_path: Path) -> None:
    from tests.serving.conftest import tiny_model

    card = register("v1")
    model = tiny_model()
    weights = model.get_weights()
    model.set_weights([weights[0] * float("nan"), weights[1]])
    with pytest.raises(BundleError, match="scores a blank poster as"):
        Predictor(model, card)
