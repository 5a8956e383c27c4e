"""From a backbone's feature maps to a vector: what `Recipe.pooling` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from training.recipe import Pooling

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


@dataclass(frozen=True, slots=True)
class FeatureMaps:
    """What a backbone makes of a batch, each [batch, h, w, C] of its own size and depth.

    top: its output. middle: one of its middle layers. stages: the ends of the stages below the top.
    """

    top: Any
    middle: Any
    stages: Sequence[Any]


def pooled(maps: FeatureMaps, kinds: Sequence[Pooling]) -> Mapping[Pooling, Any]:
    """Pool feature maps in each of the ways: float32 [batch, F], of which F is another for each.

    `upper` and `lower` are the means of half the rows each, of which both have the one in the middle where they are
    odd: a poster says other things above than below, where its title and names are. `stages` has of each stage mean,
    maximum and standard deviation; the statistics of early layers tell of style (Gatys et al. 2016), as a genre does.
    """
    from keras import layers  # noqa: PLC0415

    def mean(part: Any) -> Any:
        return layers.GlobalAveragePooling2D(dtype="float32")(part)

    def largest(part: Any) -> Any:
        return layers.GlobalMaxPooling2D(dtype="float32")(part)

    cut = maps.top.shape[1] // 2
    ways = {
        "mean": lambda: mean(maps.top),
        "max": lambda: largest(maps.top),
        "upper": lambda: mean(layers.Cropping2D(((0, cut), (0, 0)))(maps.top)),
        "lower": lambda: mean(layers.Cropping2D(((cut, 0), (0, 0)))(maps.top)),
        "middle": lambda: mean(maps.middle),
        "stages": lambda: joined([way(stage) for stage in maps.stages for way in (mean, largest, _deviation)]),
    }
    return {kind: ways[kind]() for kind in kinds}


def joined(features: Sequence[Any]) -> Any:
    """Features one after the other: float32 [batch, F]."""
    from keras import layers  # noqa: PLC0415

    return features[0] if len(features) == 1 else layers.Concatenate(dtype="float32")(features)


def _deviation(maps: Any) -> Any:
    from keras import ops  # noqa: PLC0415

    return ops.std(ops.cast(maps, "float32"), axis=(1, 2))
