"""Poster files on disk → their genres, with the production model in this process, or by an endpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from crawler.outcomes import Reason, Rejected
from serving.answers import RefusedPoster
from serving.client import Client
from serving.predictor import GenreScore, Prediction, Predictor, predict_among
from serving.problems import rejected_of
from training.registry import Registry

# Read and scored together: enough to fill the model's batches, few enough to show the first results soon.
_AT_ONCE = 16
# What the parts of a request take besides their images.
_PARTS_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be read from the disk, and why."""

    detail: str


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one file."""

    path: Path
    outcome: Prediction | Rejected | Unread


class Scorer(Protocol):
    """Scores posters: a Predictor, or an endpoint."""

    @property
    def version(self) -> str:
        """The model's."""

    def predict(self, images: list[bytes]) -> list[Prediction | Rejected]:
        """One outcome an image, in order."""


class RemoteScorer:
    """Scores posters by an endpoint. Raises EndpointError where that cannot be asked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        model = client.model()
        self.version = model.version
        self._max_bytes = model.max_upload_bytes - _PARTS_BYTES

    def predict(self, images: list[bytes]) -> list[Prediction | Rejected]:
        """One outcome an image, in order."""
        outcomes: list[Prediction | Rejected] = []
        waiting: list[bytes] = []
        for image in images:
            if waiting and sum(map(len, waiting)) + len(image) > self._max_bytes:
                outcomes += self._ask(waiting)
                waiting = []
            if len(image) > self._max_bytes:
                outcomes.append(
                    Rejected(Reason.TOO_LARGE, f"{len(image)} bytes; {self._client.url} takes {self._max_bytes}")
                )
            else:
                waiting.append(image)
        return outcomes + (self._ask(waiting) if waiting else [])

    def _ask(self, images: list[bytes]) -> list[Prediction | Rejected]:
        answer = self._client.predict(images)
        # A promotion may have come in between.
        self.version = answer.version
        return [
            rejected_of(poster.problem)
            if isinstance(poster, RefusedPoster)
            else Prediction(
                tuple(GenreScore(it.genre, it.score, it.threshold, it.passes) for it in poster.genres),
                decode_ms=poster.timings_ms.decode,
                predict_ms=poster.timings_ms.predict,
            )
            for poster in answer.posters
        ]


def load_predictor(registry: Registry, version: str | None, *, max_pixels: int) -> Predictor:
    """The predictor of a version, or of the one in production. Raises RegistryError or BundleError."""
    wanted = version or registry.production_or_raise().version
    with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
        card = registry.fetch(wanted, Path(folder))
        return Predictor.load(Path(folder), card, max_pixels=max_pixels)


def predict_files(predictor: Scorer, paths: list[Path]) -> Iterator[FileOutcome]:
    """One outcome a file, in order; a bad file never spoils its neighbours."""
    for start in range(0, len(paths), _AT_ONCE):
        some = paths[start : start + _AT_ONCE]
        read = [_read(path) for path in some]
        outcomes = predict_among(predictor.predict, read)
        for path, outcome in zip(some, outcomes, strict=True):
            yield FileOutcome(path, outcome)


def as_json(result: FileOutcome, *, top: int) -> dict[str, Any]:
    """One file as `onesheet predict --json` tells it: `genres` and `predicted`, or `error`."""
    outcome = result.outcome
    poster = str(result.path)
    if isinstance(outcome, Prediction):
        genres = [
            {"genre": it.genre, "score": round(it.score, 6), "threshold": it.threshold, "passes": it.passes}
            for it in outcome.genres[:top]
        ]
        return {"poster": poster, "genres": genres, "predicted": list(outcome.predicted)}
    reason = outcome.reason.value if isinstance(outcome, Rejected) else "unreadable"
    return {"poster": poster, "error": {"reason": reason, "detail": outcome.detail}}


def why_not(result: FileOutcome) -> str | None:
    """The sentence for a file without a prediction."""
    match result.outcome:
        case Unread(detail):
            return f"{result.path}: {detail}"
        case Rejected(reason, detail):
            return f"{result.path} is refused ({reason}): {detail}"
        case _:
            return None


def _read(path: Path) -> bytes | Unread:
    try:
        return path.read_bytes()
    except OSError as error:
        return Unread(error.strerror or str(error))
