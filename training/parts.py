"""What an architecture's expression says: which networks, each at which size, and where their weights are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import TrainingError
from training.architecture import Architecture, find
from training.recipe import Recipe

# Below, the networks' strides leave nothing of an image.
MIN_SIDE_PX = 32
_EXAMPLE = "efficientnet_lite2@544x368+mobilenet_v2@448x320"


@dataclass(frozen=True, slots=True)
class Part:
    """An architecture of an expression and the size of the image that it sees.

    name: as it is written there. has_size: whether the size is written there too; else it is the architecture's.
    """

    architecture: Architecture
    height_px: int
    width_px: int
    name: str
    has_size: bool

    @property
    def label(self) -> str:
        """Its name and size, safe in a store's key."""
        return f"{self.name.replace(':', '.')}@{self.height_px}x{self.width_px}"


def parts_of(expression: str) -> tuple[Part, ...]:
    """The parts of an expression: `name`, `name@HEIGHTxWIDTH`, or several backbones joined by `+`.

    Raises TrainingError for an unknown name, a size that is none, a part that is there twice, and for a network with a
    head of its own among several.
    """
    parts = tuple(_part(text.strip(), expression) for text in expression.split("+"))
    labels = [part.label for part in parts]
    for label in labels:
        if labels.count(label) > 1:
            raise TrainingError(f"architecture {expression}: {label} is there twice; give each its own size")
    for part in parts:
        if len(parts) > 1 and not part.architecture.is_backbone:
            raise TrainingError(
                f"architecture {expression}: {part.name} has a head of its own; only backbones can be joined"
            )
    return parts


def _part(text: str, expression: str) -> Part:
    name, at, size = text.partition("@")
    if not name:
        raise TrainingError(f"architecture {expression!r}: a name is missing; write it like {_EXAMPLE}")
    architecture = find(name)
    if not at:
        return Part(architecture, architecture.height_px, architecture.width_px, name, False)
    sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if not sides:
        raise TrainingError(f"architecture {expression}: {size!r} is no size; write HEIGHTxWIDTH, as in {_EXAMPLE}")
    height_px, width_px = int(sides[1]), int(sides[2])
    _check_size(expression, height_px, width_px)
    return Part(architecture, height_px, width_px, name, True)


def _check_size(expression: str, height_px: int, width_px: int) -> None:
    if min(height_px, width_px) < MIN_SIDE_PX:
        raise TrainingError(
            f"architecture {expression}: {height_px}x{width_px} is too small; give at least {MIN_SIDE_PX} px a side"
        )


def input_size(expression: str, height_px: int | None = None, width_px: int | None = None) -> tuple[int, int]:
    """Height and width of the posters that a network takes: the user's, else those of its largest part."""
    largest = max(parts_of(expression), key=lambda part: part.height_px * part.width_px)
    height, width = height_px or largest.height_px, width_px or largest.width_px
    _check_size(expression, height, width)
    return height, width


def default_recipe(expression: str) -> Recipe:
    """The recipe of the architecture, of several the first."""
    return parts_of(expression)[0].architecture.recipe


def weights_files(expression: str, weights: str) -> dict[str, Path]:
    """The files of a network's weights, by the architectures' names; none for `none` and `imagenet`.

    weights: a file, where a single architecture takes it, or a folder with `<architecture>_no_top.weights.h5` for each.
    Raises TrainingError that names the file that is missing.
    """
    architectures = {part.architecture.name: part.architecture for part in parts_of(expression)}
    for architecture in architectures.values():
        if weights != "none" and not architecture.takes_weights:
            raise TrainingError(f"{architecture.name} is trained from scratch and takes no --weights")
    if weights in ("none", "imagenet"):
        return {}
    path = Path(weights)
    if path.is_dir():
        files = {name: path / f"{name}_no_top.weights.h5" for name in architectures}
    elif len(architectures) == 1:
        files = dict.fromkeys(architectures, path)
    else:
        raise TrainingError(
            f"--weights {weights}: {' and '.join(architectures)} need a file each; "
            f"give a folder with {' and '.join(f'{name}_no_top.weights.h5' for name in architectures)}"
        )
    for file in files.values():
        if not file.is_file():
            raise TrainingError(
                f"--weights {weights}: {file} is missing; give a .weights.h5 file, a folder of them, imagenet or none"
            )
    return files
