"""The bundle: everything that serving needs of a model, in a folder, and nothing that runs code.

bundle.json     the card, with the sha256 of the others
model.keras     the model
model.xml, model.bin     the same for OpenVINO, where that takes it
README.md       the card for people, in the Hugging Face format
index.parquet, index.npy, projection.npy     the dataset's posters, for finding similar ones; may be left out
"""

from __future__ import annotations

import hashlib
import logging
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.errors import TrainingError
from training.drift import Reference

if TYPE_CHECKING:
    from training.similar import PosterIndex

log = logging.getLogger(__name__)

CARD_FILE = "bundle.json"
MODEL_FILE = "model.keras"
README_FILE = "README.md"
TITLES_FILE = "index.parquet"
VECTORS_FILE = "index.npy"
PROJECTION_FILE = "projection.npy"
INDEX_FILES = (TITLES_FILE, VECTORS_FILE, PROJECTION_FILE)
# The metric that models are compared by, in `metrics` and in `prior_metrics`.
MACRO_MAP = "macro_map"
# On the command line `latest` is the newest version; in the store the pointer lies beside the versions.
_RESERVED_VERSIONS = ("latest", "production", "production.json")

Threshold = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]


class BundleError(TrainingError):
    """A bundle that is damaged, unsafe or not what its card says."""


class GenreWorth(BaseModel):
    """What a model is worth in one genre, on the test split; None where no test poster has it.

    low, high: the 95% bootstrap interval of the average precision. precision, recall: at the genre's threshold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    genre: str
    test_posters: int
    average_precision: float | None
    low: float | None
    high: float | None
    prior_average_precision: float | None
    precision: float | None
    recall: float | None
    calibration_error: float | None


class BundleCard(BaseModel):
    """What a bundle is: the labels, the input, what it is worth, and where it comes from.

    thresholds: one a genre; a score at or above it means that the genre is predicted.
    height_px, width_px: the model's input, float or uint8 RGB from 0 to 255; scaling lives inside the model.
    metrics, prior_metrics: on the test split, of the model and of the prior baseline, under the same names.
    intervals, prior_intervals: the 95% bootstrap intervals of these; cards of before have none, nor genre_metrics.
    reference: what drift in service is measured from; cards of before have none.
    probe_scores: Keras's, of the pictures of `training.export.probe`; cards of before have none.
    files: name → sha256. These two are filled in by `write_bundle`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    version: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._=+@,-]{0,199}$")
    architecture: str
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    genres: tuple[str, ...] = Field(min_length=1)
    thresholds: tuple[Threshold, ...]
    height_px: int = Field(gt=0)
    width_px: int = Field(gt=0)
    metrics: dict[str, float] = {}
    prior_metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    prior_intervals: dict[str, tuple[float, float]] = {}
    genre_metrics: tuple[GenreWorth, ...] = ()
    reference: Reference | None = None
    lineage: dict[str, str | int | float | bool | None] = {}
    probe_scores: tuple[tuple[float, ...], ...] = ()
    files: dict[FileName, Sha256] = {}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.version in _RESERVED_VERSIONS:
            raise ValueError(f"version: {self.version!r} is a reserved name")
        if len(self.thresholds) != len(self.genres):
            raise ValueError(f"{len(self.genres)} genres but {len(self.thresholds)} thresholds")
        if len(set(self.genres)) != len(self.genres):
            raise ValueError("a genre is named twice")
        if self.reference and [it.genre for it in self.reference.genres] != list(self.genres):
            raise ValueError("reference: it has other genres")
        return self


def write_bundle(folder: Path, model: Any, card: BundleCard, index: PosterIndex | None = None) -> BundleCard:
    """Save a keras.Model, its export, its README and its card in `folder`, made if need be; the card last.

    model: takes [batch, height_px, width_px, 3], returns sigmoid scores, float32 [batch, genres]. One that OpenVINO
    does not take has no export, and the log says why; TensorFlow serves it. index: of the dataset's posters, by what
    this model sees in them.
    Raises BundleError for a model that does not fit the card.
    """
    from training.export import GRAPH_FILE, WEIGHTS_FILE, ExportError, export, probe_scores  # noqa: PLC0415
    from training.model_card import render_model_card  # noqa: PLC0415  it renders what this module defines

    _check_fit(model, card)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL_FILE)
    (folder / README_FILE).write_text(render_model_card(card), encoding="utf-8", newline="\n")
    names = [MODEL_FILE, README_FILE]
    try:
        export(model, folder)
        names += [GRAPH_FILE, WEIGHTS_FILE]
    except ExportError as error:
        log.warning("TensorFlow, which is slower, will serve %s: %s", card.version, error)
    if index is not None:
        index.write(folder)
        names += INDEX_FILES
    files = {name: sha256_of(folder / name) for name in names}
    complete = card.model_copy(update={"files": files, "probe_scores": _rounded(probe_scores(model))})
    part = folder / f".{CARD_FILE}.part"
    part.write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")
    part.replace(folder / CARD_FILE)
    return complete


def read_card(data: bytes) -> BundleCard:
    """The card in the bytes of a `bundle.json`. Raises BundleError that names the bad field."""
    try:
        return BundleCard.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the card"
        raise BundleError(f"{CARD_FILE} cannot be read: {where}: {first['msg']}") from error


def load_model(folder: Path, card: BundleCard) -> Any:
    """The bundle's keras.Model, for inference; no code from the bundle runs.

    Every file's sha256 is verified before anything is parsed. Raises BundleError for a file that is missing or
    altered, for a model that would run code (a Lambda layer, a custom class), and for one that does not fit the card.
    """
    verify_files(folder, card)
    if MODEL_FILE not in card.files:
        raise BundleError(f"bundle {card.version} lists no {MODEL_FILE}; register it again")
    import keras  # noqa: PLC0415

    try:
        model = keras.saving.load_model(folder / MODEL_FILE, compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if "Lambda" in str(error) or "lambda" in str(error):
            reason = "it holds a Lambda layer, which would run code from the bundle"
        raise BundleError(f"the model of bundle {card.version} is refused: {reason}") from error
    _check_fit(model, card)
    return model


def load_index(folder: Path, card: BundleCard) -> PosterIndex | None:
    """The bundle's index of similar posters, or None where it was registered without one. No code of it runs.

    `load_model` has verified its files. Raises BundleError for files that are no index.
    """
    if not set(INDEX_FILES) <= set(card.files):
        return None
    from training.similar import PosterIndex  # noqa: PLC0415  pyarrow, which most commands do without

    try:
        return PosterIndex.read(folder)
    except BundleError as error:
        raise BundleError(f"bundle {card.version} is refused: {error}") from error


def verify_files(folder: Path, card: BundleCard) -> None:
    """Raise BundleError unless every file of the card is in `folder` with the sha256 that the card says."""
    for name, sha256 in card.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"bundle {card.version} is incomplete: {path} is missing; fetch or register it again")
        if sha256_of(path) != sha256:
            raise BundleError(f"bundle {card.version} was altered: {path} does not match its sha256 in {CARD_FILE}")


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rounded(scores: Any) -> tuple[tuple[float, ...], ...]:
    rows = [[float(score) for score in row] for row in scores]
    # JSON has no NaN; a model with such scores is refused when it is loaded.
    is_finite = all(math.isfinite(score) for row in rows for score in row)
    return tuple(tuple(round(score, 6) for score in row) for row in rows) if is_finite else ()


def _check_fit(model: Any, card: BundleCard) -> None:
    wanted_input = (card.height_px, card.width_px, 3)
    if tuple(model.input_shape[1:]) != wanted_input:
        raise BundleError(f"bundle {card.version}: the model takes {model.input_shape}, its card says {wanted_input}")
    if tuple(model.output_shape[1:]) != (len(card.genres),):
        raise BundleError(
            f"bundle {card.version}: the model returns {model.output_shape}, its card names {len(card.genres)} genres"
        )
