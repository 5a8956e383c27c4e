"""Gauges of the models that a replica serves: their shares of the requests, refusals, and drift."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.util.metrics import Gauge

from serving.drift import DriftWatch, models_of
from serving.follower import Follower


class ModelMetrics:
    """Hears of the follower after each of its looks at the pointer. What is over is told as 0."""

    def __init__(self, watch: DriftWatch, *, gauge: Callable[..., Any] = Gauge) -> None:
        """gauge: makes one of a name, a description and labels."""
        self._watch = watch
        self._share = gauge("onesheet_traffic_share", "Of the requests, that go to a version.", ("version",))
        self._refused = gauge("onesheet_refused", "1 for a version that could not be loaded.", ("version",))
        self._posters = gauge("onesheet_drift_posters", "Posters that drift is measured on.", ("version",))
        self._drifts = gauge("onesheet_drifts", "Genres and inputs that drifted.", ("version",))
        self._genres = gauge(
            "onesheet_genre_drift", "Population stability index of a genre's scores.", ("genre", "version")
        )
        self._inputs = gauge(
            "onesheet_input_drift", "Population stability index of what posters look like.", ("input", "version")
        )
        self._told: dict[Any, set[tuple[tuple[str, str], ...]]] = {}

    def __call__(self, follower: Follower) -> None:
        canary = follower.canary
        shares = {canary.predictor.version: canary.share} if canary else {}
        if follower.predictor:
            shares[follower.predictor.version] = 1 - sum(shares.values())
        refused = [it.version for it in (follower.refused, follower.refused_candidate) if it]
        self._tell(self._share, {(("version", version),): share for version, share in shares.items()})
        self._tell(self._refused, {(("version", version),): 1.0 for version in refused})
        self._watch.keep_only(set(shares))
        reports = [self._watch.report(predictor.card) for predictor in models_of(follower)]
        self._tell(self._posters, {(("version", it.version),): float(it.posters) for it in reports})
        self._tell(
            self._drifts,
            {
                (("version", it.version),): float(sum(shift.is_drift for shift in (*it.genres, *it.inputs)))
                for it in reports
            },
        )
        for gauge, kind in ((self._genres, "genre"), (self._inputs, "input")):
            self._tell(
                gauge,
                {
                    ((kind, shift.name), ("version", it.version)): shift.index
                    for it in reports
                    for shift in (it.genres if kind == "genre" else it.inputs)
                },
            )

    def _tell(self, gauge: Any, values: dict[tuple[tuple[str, str], ...], float]) -> None:
        for labels in self._told.get(gauge, set()) - values.keys():
            gauge.set(0.0, dict(labels))
        self._told[gauge] = set(values)
        for labels, value in values.items():
            gauge.set(value, dict(labels))
