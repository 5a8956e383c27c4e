"""Drift: what is the same stays below its limit, what is not rises above it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from cluster.store import FolderStore
from training.answers import ask, save_answers
from training.bundle import BundleCard
from training.dataset import Card
from training.drift import (
    INPUTS,
    Histogram,
    Reference,
    chance_limit,
    genre_shifts,
    input_shifts,
    poster_inputs,
    reference_of,
    stability_index,
)
from training.preprocessing import to_pixels
from training.reference import validation_reference

Change = Callable[[Image.Image], Image.Image]
SIZE = {"height_px": 224, "width_px": 160}


def darkened(image: Image.Image) -> Image.Image:
    return image.point(lambda value: value // 2)


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((0, 0, width, min(width, height)))


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(image.width).normal(0, 40, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def posters(real_data: Path) -> list[Image.Image]:
    paths = sorted((real_data / "posters" / "Images").glob("*.jpg"))
    chosen = np.random.default_rng(0).choice(len(paths), 600, replace=False)
    return [Image.open(paths[place]).convert("RGB") for place in chosen]


def measured(posters: list[Image.Image], change: Change = lambda image: image) -> np.ndarray[Any, Any]:
    changed = [change(image) for image in posters]
    return np.array([poster_inputs(image.size, to_pixels(image, **SIZE)) for image in changed])


@pytest.fixture(scope="module")
def reference(posters: list[Image.Image]) -> Reference:
    return reference_of([], np.zeros((300, 0)), [], measured(posters[:300]), max_height_px=640)


def drifted(reference: Reference, inputs: np.ndarray[Any, Any]) -> set[str]:
    return {shift.name for shift in input_shifts(reference, inputs) if shift.is_drift}


def test_other_posters_of_the_same_kind_are_no_drift(posters: list[Image.Image], reference: Reference) -> None:
    shifts = input_shifts(reference, measured(posters[300:]))
    assert [shift.name for shift in shifts] == list(INPUTS)
    assert {shift.name: shift.index for shift in shifts if shift.index > 0.2 or shift.is_drift} == {}


@pytest.mark.parametrize(
    ("change", "seen"),
    [(darkened, {"brightness", "contrast"}), (cropped, {"aspect", "height_px"}), (noisy, {"sharpness"})],
)
def test_darkened_cropped_and_noisy_posters_are_a_drift_of_what_was_changed(
    posters: list[Image.Image], reference: Reference, change: Change, seen: set[str]
) -> None:
    assert seen <= drifted(reference, measured(posters[300:], change))


def test_posters_that_the_dataset_would_have_made_smaller_are_no_drift() -> None:
    inputs = np.tile([100.0, 60, 50, 12, 640, 0.675], (300, 1))
    small = reference_of([], inputs[:, :0], [], inputs, max_height_px=640)
    taller = inputs * [1, 1, 1, 1, 3, 1]
    assert "height_px" not in drifted(small, taller)
    assert "height_px" in drifted(small, inputs * [1, 1, 1, 1, 0.5, 1])


def test_scores_that_moved_are_a_drift_of_their_genre_and_no_other() -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(1, 20, (1500, 2))
    reference = reference_of(["Drama", "Horror"], scores[:1000], [0.1, 0.1], np.zeros((9, 6)), max_height_px=640)
    met = {"Drama": scores[1000:, 0], "Horror": np.minimum(1, scores[1000:, 1] * 2)}
    drama, horror = genre_shifts(reference, met)
    assert (drama.name, drama.is_drift) == ("Drama", False)
    assert (horror.name, horror.is_drift) == ("Horror", True)
    assert horror.mean == pytest.approx(2 * horror.reference_mean, rel=0.2)
    kept = reference.genres[0]
    assert kept.share == pytest.approx((scores[:1000, 0] >= 0.1).mean())
    assert max(kept.scores.counts) - min(kept.scores.counts) <= 1, "as many posters in each bin"


@pytest.mark.parametrize(("expected", "found"), [(60, 100), (300, 1000), (5000, 100)])
def test_chance_alone_stays_below_the_limit(expected: int, found: int) -> None:
    rng = np.random.default_rng(2)
    above = 0
    for _ in range(300):
        edges = np.quantile(sample := rng.normal(size=expected), np.linspace(0, 1, 11)[1:-1]).tolist()
        pair = [Histogram.of(values, edges).counts for values in (sample, rng.normal(size=found))]
        above += stability_index(*pair) > chance_limit(10, expected, found)
    assert above == 0


@given(
    st.integers(2, 30).flatmap(
        lambda bins: st.tuples(*[st.lists(st.integers(0, 1000), min_size=bins, max_size=bins)] * 2)
    )
)
def test_the_index_is_finite_never_negative_and_the_same_both_ways(counts: tuple[list[int], list[int]]) -> None:
    index = stability_index(*counts)
    assert 0 <= index < 100
    assert index == pytest.approx(stability_index(*reversed(counts)))
    assert stability_index(counts[0], counts[0]) == 0


def test_a_histogram_has_open_ends() -> None:
    assert Histogram.of(np.array([-5, 0, 0.5, 1, 9]), [0, 1]).counts == (1, 2, 2)
    with pytest.raises(ValidationError, match="rising edges"):
        Histogram(edges=(1, 0), counts=(1, 1, 1))


def test_a_poster_of_one_colour_has_its_brightness_and_nothing_else() -> None:
    image = Image.new("RGB", (200, 300), (255, 0, 0))
    brightness, contrast, saturation, sharpness, height, aspect = poster_inputs(image.size, to_pixels(image, **SIZE))
    assert (brightness, contrast, saturation, sharpness) == (76, 0, 255, 0)
    assert (height, aspect) == (300, pytest.approx(2 / 3))


def test_a_trained_versions_card_keeps_what_its_validation_posters_were(
    dataset: tuple[FolderStore, Card],
) -> None:
    import keras

    store, card = dataset
    image = keras.Input((64, 48, 3))
    scores = keras.layers.Dense(len(card.genres), activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(image))
    answers = ask(keras.Model(image, scores), store, card)
    sizes = {"height_px": 64, "width_px": 48}
    thresholds = [0.5] * len(card.genres)
    assert validation_reference(store, card, "v1", thresholds, **sizes) is None, "no answers were kept"
    save_answers(store, "v1", answers)
    reference = validation_reference(store, card, "v1", thresholds, **sizes)
    assert reference
    assert reference.posters == card.posters["validation"]
    assert {sum(it.values.counts) for it in reference.inputs} == {reference.posters}
    for shift in genre_shifts(reference, {g: answers.validation.scores[:, i] for i, g in enumerate(card.genres)}):
        assert shift.index == 0, "beside itself it has not moved"
        assert shift.mean == pytest.approx(shift.reference_mean)
    facts: dict[str, Any] = {"version": "v1", "architecture": "tiny", "thresholds": (0.5,), **sizes}
    bundle = BundleCard(genres=tuple(card.genres), reference=reference, **{**facts, "thresholds": tuple(thresholds)})
    assert BundleCard.model_validate_json(bundle.model_dump_json()) == bundle
    with pytest.raises(ValidationError, match="reference: it has other genres"):
        BundleCard(genres=("Opera",), reference=reference, **facts)
