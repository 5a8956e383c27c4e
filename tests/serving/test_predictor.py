"""The predictor: bytes in, ranked genres out, each image for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crawler.outcomes import Reason, Rejected
from serving.predictor import Explanation, Prediction, Predictor
from tests.serving.conftest import Poster, Register
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


def test_the_first_explanation_loads_keras_and_later_ones_do_not(predictor: Predictor, poster: Poster) -> None:
    first, second = (predictor.explain(poster("red"), "Red") for _ in range(2))
    assert isinstance(first, Explanation)
    assert isinstance(second, Explanation)
    [scored] = predictor.predict([poster("red")])
    assert isinstance(scored, Prediction)
    assert first.genre.score == pytest.approx(scored.genres[0].score, abs=1e-3)
    assert (first.heat == second.heat).all()


def test_predicting_needs_no_tensorflow(registry: Registry, register: Register, poster: Poster, tmp_path: Path) -> None:
    register("v1")
    registry.fetch("v1", tmp_path / "fetched")
    (tmp_path / "poster.jpg").write_bytes(poster("red"))
    code = """
import sys
from pathlib import Path
from serving.predictor import Predictor
from training.bundle import read_card
folder = Path(sys.argv[1])
predictor = Predictor.load(folder / "fetched", read_card((folder / "fetched" / "bundle.json").read_bytes()))
[outcome] = predictor.predict([(folder / "poster.jpg").read_bytes()])
print(outcome.predicted, sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "('Red',) []"
