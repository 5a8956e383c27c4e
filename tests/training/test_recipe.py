from __future__ import annotations

import pytest

from training.recipe import RICH, Recipe, RecipeError, settings_of


def test_text_from_a_command_line_becomes_the_fields_types():
    recipe = Recipe().changed(
        settings_of(["epochs=3", "learning_rate=0.01", "pooling=rich", "augmentation=flip, mixup", "mirror=true"])
    )
    assert (recipe.epochs, recipe.learning_rate, recipe.mirror) == (3, 0.01, True)
    assert recipe.pooling == RICH
    assert recipe.augmentation == ("flip", "mixup")
    assert Recipe().changed({"trainable": "12"}).trainable == 12
    assert Recipe().changed({"augmentation": ""}).augmentation == ()


def test_a_recipe_survives_its_way_as_plain_values():
    recipe = Recipe(pooling=RICH, augmentation=("crop",), trainable=4)
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        ("epoch=3", "a recipe has no 'epoch'; it has epochs, batch_size"),
        ("epochs=0", "epochs '0': Input should be greater than or equal to 1"),
        ("loss=hinge", "loss 'hinge': Input should be 'binary_crossentropy', 'weighted', 'focal' or 'asymmetric'"),
        ("trainable=0", "trainable is head, all, or a number of layers of at least 1"),
        ("pooling=", "pooling names at least one of mean, max"),
        ("augmentation=upside_down", "augmentation 'upside_down': Input should be 'flip'"),
        ("epochs", "--set epochs: write it as name=value"),
    ],
)
def test_what_makes_no_recipe_is_said_with_the_field(pair: str, sentence: str):
    with pytest.raises(RecipeError) as error:
        Recipe().changed(settings_of([pair]))
    assert sentence in str(error.value)
