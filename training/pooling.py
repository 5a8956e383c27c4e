"""From a backbone's feature maps to a vector: what `Recipe.pooling` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.recipe import Pooling


def pooled(maps: Any, middle: Any, kinds: Sequence[Pooling]) -> Any:
    """Pool feature maps, each kind after the other.

    maps: [batch, h, w, C], the backbone's output; middle: [batch, h', w', C'], one of its middle layers.
    Returns float32 [batch, F]. `upper` and `lower` are the means of half the rows each, of which both have the one in
    the middle where they are odd: a poster says other things above than below, where its title and names are.
    """
    from keras import layers  # noqa: PLC0415

    def mean(part: Any) -> Any:
        return layers.GlobalAveragePooling2D(dtype="float32")(part)

    height = maps.shape[1]
    cut = height // 2
    ways = {
        "mean": lambda: mean(maps),
        "max": lambda: layers.GlobalMaxPooling2D(dtype="float32")(maps),
        "upper": lambda: mean(layers.Cropping2D(((0, cut), (0, 0)))(maps)),
        "lower": lambda: mean(layers.Cropping2D(((cut, 0), (0, 0)))(maps)),
        "middle": lambda: mean(middle),
    }
    found = [ways[kind]() for kind in kinds]
    return found[0] if len(found) == 1 else layers.Concatenate(dtype="float32")(found)
