"""The endpoint's metrics, through Ray's Prometheus."""

from __future__ import annotations

import threading
from collections import defaultdict

from ray.util.metrics import Counter, Gauge, Histogram

from serving.access import Access

_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000]
_POSTERS = [1, 2, 4, 8, 16, 32, 64]


class ServeMetrics:
    """A listener of `serving.access`: counts each request, its posters, their stages, and what they were told.

    Ray puts `ray_` before the names, and `_total` after those of counters. Its own `ray_serve_…` have the queues and
    the replicas.
    """

    def __init__(self) -> None:
        self._requests = Counter(
            "onesheet_requests",
            "Requests by route, status and the version that answered.",
            ("path", "status", "version"),
        )
        self._request_ms = Histogram(
            "onesheet_request_ms", "From a request's first byte to its answer's last.", _MS, ("path", "version")
        )
        self._queued = Gauge("onesheet_queue", "Requests that waited when the newest one began to.")
        self._queued_ms = Histogram("onesheet_queue_ms", "How long a request waited for its turn.", _MS)
        self._posters = Counter(
            "onesheet_posters", "Posters by the model's version, and what became of them.", ("version", "outcome")
        )
        self._batch = Histogram("onesheet_request_posters", "Posters of a request.", _POSTERS)
        self._decode_ms = Histogram("onesheet_decode_ms", "Reading and resizing a poster.", _MS)
        self._predict_ms = Histogram(
            "onesheet_predict_ms", "The model, for the posters scored together.", _MS, ("version",)
        )
        self._genres = Counter(
            "onesheet_genres", "Posters for which a genre passed its threshold.", ("genre", "version")
        )
        self._scores = Counter(
            "onesheet_genre_scores",
            "The sum of a genre's scores; by the posters scored, their mean.",
            ("genre", "version"),
        )
        # Two numbers a genre: to tell Ray of them with each poster was a twentieth of a replica's time.
        self._lock = threading.Lock()
        self._untold: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0])

    def __call__(self, access: Access) -> None:
        # Of what no model answered, there is none.
        answered = {"path": access.path, "version": access.version or "none"}
        self._requests.inc(1, {**answered, "status": str(access.status)})
        self._request_ms.observe(max(access.ms, 1e-3), answered)
        if access.posters:
            self._queued.set(access.queued)
            self._queued_ms.observe(max(access.queued_ms, 1e-3))
        if access.path != "/v1/predict" or not access.posters or access.version is None:
            return
        version = {"version": access.version}
        self._batch.observe(access.posters)
        scored = len(access.predictions)
        for outcome, count in (("scored", scored), ("refused", access.posters - scored)):
            if count:
                self._posters.inc(count, {**version, "outcome": outcome})
        for prediction in access.predictions:
            self._decode_ms.observe(max(prediction.decode_ms, 1e-3))
            with self._lock:
                for genre in prediction.genres:
                    known = self._untold[access.version, genre.genre]
                    known[0] += genre.passes
                    known[1] += genre.score
        # The same for all posters of a batch.
        for predict_ms in {prediction.predict_ms for prediction in access.predictions}:
            self._predict_ms.observe(max(predict_ms, 1e-3), version)

    def tell_genres(self) -> None:
        """Tell Ray what was counted of the genres since the last time; the follower's looks are often enough."""
        with self._lock:
            untold = dict(self._untold)
            self._untold.clear()
        for (version, genre), (passed, score) in untold.items():
            labels = {"version": version, "genre": genre}
            if passed:
                self._genres.inc(passed, labels)
            if score > 0:
                self._scores.inc(score, labels)
