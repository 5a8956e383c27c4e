"""What the endpoint answers: the typed bodies, with the examples that its OpenAPI page shows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from serving.follower import Canary, Follower, Refused
from serving.predictor import Prediction
from serving.problems import Problem
from training.bundle import BundleCard

_WORTH = ("test_posters", "average_precision", "prior_average_precision", "precision", "recall")
# What stands in a batch in place of a poster, for the OpenAPI page.
REFUSED_EXAMPLE: dict[str, Any] = {
    "name": "notes.txt",
    "problem": {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "the image is refused (not_an_image): starts with b'hello'",
        "reason": "not_an_image",
    },
}
_EXAMPLE: dict[str, Any] = {
    "version": "20260301-1200-mobilenet_v2",
    "posters": [
        {
            "name": "alien.jpg",
            "genres": [
                {"genre": "Horror", "score": 0.81, "threshold": 0.35, "passes": True},
                {"genre": "Thriller", "score": 0.42, "threshold": 0.4, "passes": True},
                {"genre": "Comedy", "score": 0.07, "threshold": 0.38, "passes": False},
            ],
            "predicted": ["Horror", "Thriller"],
            "timings_ms": {"decode": 2.7, "predict": 26.1},
        },
        REFUSED_EXAMPLE,
    ],
}


class GenreAnswer(BaseModel):
    """A genre's score, 0 to 1, and whether it reaches the genre's threshold."""

    genre: str
    score: float
    threshold: float
    passes: bool


class Timings(BaseModel):
    """Milliseconds in the replica: reading and resizing the image, and the model."""

    decode: float
    predict: float


class ExplanationAnswer(BaseModel):
    """Where in the poster the model sees a genre. png: a picture as base64."""

    genre: str
    score: float
    png: str


class ScoredPoster(BaseModel):
    """A poster's genres, the highest score first, and the names of those that pass.

    explanation: where it was asked for. predict_ms of its timings: the model's, for all posters scored together.
    """

    name: str
    genres: list[GenreAnswer]
    predicted: list[str]
    timings_ms: Timings
    explanation: ExplanationAnswer | None = None

    @classmethod
    def of(
        cls,
        name: str,
        prediction: Prediction,
        *,
        top: int | None,
        threshold: float | None,
        explanation: ExplanationAnswer | None = None,
    ) -> ScoredPoster:
        """The answer that tells a prediction. threshold: in place of each genre's own."""
        genres = [
            GenreAnswer(
                genre=it.genre,
                score=round(it.score, 6),
                threshold=it.threshold if threshold is None else threshold,
                passes=it.passes if threshold is None else it.score >= threshold,
            )
            for it in prediction.genres
        ]
        return cls(
            name=name,
            genres=genres[:top],
            predicted=[it.genre for it in genres if it.passes],
            timings_ms=Timings(decode=round(prediction.decode_ms, 2), predict=round(prediction.predict_ms, 2)),
            explanation=explanation,
        )


class RefusedPoster(BaseModel):
    """A poster that could not be scored, and why; its neighbours are."""

    name: str
    problem: Problem


class PredictionAnswer(BaseModel):
    """One entry a poster of the request, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    version: str
    posters: list[ScoredPoster | RefusedPoster]


class LiveAnswer(BaseModel):
    """The replica answers."""

    status: str = "ok"


class ReadyAnswer(BaseModel):
    """The replica has a model and answers."""

    status: str = "ok"
    version: str


class InputSize(BaseModel):
    """What a poster is resized to before the model sees it."""

    height_px: int
    width_px: int


class RefusedAnswer(BaseModel):
    """A version that was promoted, or was to be tried, and could not be loaded; the one before goes on serving."""

    version: str
    reason: str

    @classmethod
    def of(cls, refused: Refused | None) -> RefusedAnswer | None:
        """The answer that tells a refusal."""
        return cls(version=refused.version, reason=refused.reason) if refused else None


class CandidateAnswer(BaseModel):
    """A version that answers a share of the requests, to be compared with the one in production."""

    version: str
    share: float
    architecture: str
    metrics: dict[str, float]
    lineage: dict[str, str | int | float | bool | None]


class GenreThreshold(BaseModel):
    """A score at or above the threshold predicts the genre."""

    genre: str
    threshold: float


class GenreWorthAnswer(GenreThreshold):
    """A genre, and what the model is worth in it on unseen posters, beside guessing by frequency; null if unknown."""

    test_posters: int | None
    average_precision: float | None
    prior_average_precision: float | None
    precision: float | None
    recall: float | None


class GenresAnswer(BaseModel):
    """What the model knows, in the order of its scores."""

    version: str
    genres: list[GenreWorthAnswer]

    @classmethod
    def of(cls, card: BundleCard) -> GenresAnswer:
        """The answer that tells a card's genres."""
        worth = {it.genre: it for it in card.genre_metrics}
        return cls(
            version=card.version,
            genres=[
                GenreWorthAnswer(
                    genre=genre,
                    threshold=threshold,
                    **{name: getattr(worth.get(genre), name, None) for name in _WORTH},
                )
                for genre, threshold in zip(card.genres, card.thresholds, strict=True)
            ],
        )


class ModelAnswer(BaseModel):
    """The model that serves: what it is, what it is worth beside the prior baseline, where it comes from."""

    version: str
    architecture: str
    created_at: datetime
    genres: list[GenreThreshold]
    input: InputSize
    metrics: dict[str, float]
    prior_metrics: dict[str, float]
    lineage: dict[str, str | int | float | bool | None]
    refused: RefusedAnswer | None
    candidate: CandidateAnswer | None
    refused_candidate: RefusedAnswer | None
    max_upload_bytes: int
    fetches_urls: bool
    finds_similar: bool = False

    @classmethod
    def of(cls, follower: Follower, max_upload_bytes: int, *, fetches_urls: bool, finds_similar: bool) -> ModelAnswer:
        """The answer that tells what is followed, which has a model."""
        assert follower.predictor is not None  # noqa: S101  asked of a server that is ready
        card, canary = follower.predictor.card, follower.canary
        return cls(
            version=card.version,
            architecture=card.architecture,
            created_at=card.created_at,
            genres=[
                GenreThreshold(genre=genre, threshold=threshold)
                for genre, threshold in zip(card.genres, card.thresholds, strict=True)
            ],
            input=InputSize(height_px=card.height_px, width_px=card.width_px),
            metrics=card.metrics,
            prior_metrics=card.prior_metrics,
            lineage=card.lineage,
            refused=RefusedAnswer.of(follower.refused),
            candidate=_candidate(canary) if canary else None,
            refused_candidate=RefusedAnswer.of(follower.refused_candidate),
            max_upload_bytes=max_upload_bytes,
            fetches_urls=fetches_urls,
            finds_similar=finds_similar,
        )


def _candidate(canary: Canary) -> CandidateAnswer:
    card = canary.predictor.card
    return CandidateAnswer(
        version=card.version,
        share=canary.share,
        architecture=card.architecture,
        metrics=card.metrics,
        lineage=card.lineage,
    )
