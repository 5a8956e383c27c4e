"""What the models met and said lately, per version, and how far that is from the validation posters."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel

from serving.access import Access
from serving.follower import Follower
from serving.predictor import Prediction, Predictor
from serving.problems import documented
from training.bundle import BundleCard
from training.drift import INPUTS, Shift, genre_shifts, input_shifts

# Of fewer posters, chance makes nearly anything.
LEAST_POSTERS = 100


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What is known of one version: its shifts, or why there are none. posters: those of the window."""

    version: str
    posters: int
    genres: tuple[Shift, ...] = ()
    inputs: tuple[Shift, ...] = ()
    why_not: str | None = None


class DriftWatch:
    """A listener of `serving.access`: keeps the last posters of each version, scores and inputs, no pixels."""

    def __init__(self, *, window: int = 1000) -> None:
        """window: posters that are kept, of each version and in each replica."""
        self.window = window
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def __call__(self, access: Access) -> None:
        """Keep the posters that were scored."""
        seen = [prediction for prediction in access.predictions if prediction.inputs]
        if not seen or access.version is None:
            return
        with self._lock:
            kept = self._windows.get(access.version)
            if kept is None:
                kept = self._windows[access.version] = _Window(self.window, seen[0])
            for prediction in seen:
                kept.add(prediction)

    def keep_only(self, versions: set[str]) -> None:
        """Forget the posters of all other versions."""
        with self._lock:
            self._windows = {version: kept for version, kept in self._windows.items() if version in versions}

    def report(self, card: BundleCard) -> DriftReport:
        """How far the posters that this version met lately are from its reference."""
        with self._lock:
            kept = self._windows.get(card.version)
            scores, inputs = kept.copies() if kept else ({}, np.zeros((0, len(INPUTS)), np.float32))
        if card.reference is None:
            return DriftReport(card.version, len(inputs), why_not="this version's card has no reference statistics")
        if len(inputs) < LEAST_POSTERS:
            too_few = f"too few posters yet: {len(inputs)} of at least {LEAST_POSTERS}"
            return DriftReport(card.version, len(inputs), why_not=too_few)
        return DriftReport(
            card.version,
            len(inputs),
            genres=tuple(genre_shifts(card.reference, scores)),
            inputs=tuple(input_shifts(card.reference, inputs)),
        )


class _Window:
    """The last posters as two rings."""

    def __init__(self, size: int, first: Prediction) -> None:
        self._genres = sorted(it.genre for it in first.genres)
        self._scores = np.zeros((size, len(self._genres)), np.float32)
        self._inputs = np.zeros((size, len(INPUTS)), np.float32)
        self._added = 0

    def add(self, prediction: Prediction) -> None:
        place = self._added % len(self._scores)
        self._scores[place] = [it.score for it in sorted(prediction.genres, key=lambda it: it.genre)]
        self._inputs[place] = prediction.inputs
        self._added += 1

    def copies(self) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
        kept = min(self._added, len(self._scores))
        scores = {genre: self._scores[:kept, g].copy() for g, genre in enumerate(self._genres)}
        return scores, self._inputs[:kept].copy()


class ShiftAnswer(BaseModel):
    """A figure's population stability index; above `limit` it is a drift. The means tell which way."""

    name: str
    index: float
    limit: float
    is_drift: bool
    mean: float
    reference_mean: float

    @classmethod
    def of(cls, shift: Shift) -> ShiftAnswer:
        """The answer that tells a shift."""
        index, limit, mean, reference = (
            round(value, 4) for value in (shift.index, shift.limit, shift.mean, shift.reference_mean)
        )
        return cls(
            name=shift.name, index=index, limit=limit, is_drift=shift.is_drift, mean=mean, reference_mean=reference
        )


class ModelDriftAnswer(BaseModel):
    """One version's scores and inputs beside its validation posters'; `why_not` where they cannot be compared."""

    version: str
    posters: int
    is_drift: bool
    why_not: str | None
    genres: list[ShiftAnswer]
    inputs: list[ShiftAnswer]

    @classmethod
    def of(cls, report: DriftReport) -> ModelDriftAnswer:
        """The answer that tells a report, the largest index first."""
        genres, inputs = (
            [ShiftAnswer.of(shift) for shift in sorted(shifts, key=lambda it: it.index, reverse=True)]
            for shifts in (report.genres, report.inputs)
        )
        return cls(
            version=report.version,
            posters=report.posters,
            is_drift=any(shift.is_drift for shift in (*genres, *inputs)),
            why_not=report.why_not,
            genres=genres,
            inputs=inputs,
        )


class DriftAnswer(BaseModel):
    """The production model first, then a candidate. Each replica tells of the posters that it met itself."""

    window: int
    models: list[ModelDriftAnswer]


def models_of(follower: Follower) -> list[Predictor]:
    """The production model, then a candidate, as far as there are any."""
    canary = follower.canary
    return [it for it in (follower.predictor, canary.predictor if canary else None) if it is not None]


def drift_router(follower: Follower, watch: DriftWatch) -> APIRouter:
    """The endpoint that tells of drift."""
    router = APIRouter()

    @router.get("/drift", tags=["model"], responses=documented(401, 429))
    def drift() -> DriftAnswer:
        """How far the last posters, and what was said of them, are from the posters that the model was tuned on."""
        reports = [watch.report(predictor.card) for predictor in models_of(follower)]
        return DriftAnswer(window=watch.window, models=[ModelDriftAnswer.of(report) for report in reports])

    return router
