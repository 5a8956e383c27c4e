"""The endpoint's metrics, through Ray's Prometheus."""

from __future__ import annotations

import threading
from collections import defaultdict

from ray.util.metrics import Counter, Gauge, Histogram

from serving.access import Access

_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000]
_POSTERS = [1, 2, 4, 8, 16, 32, 64]
# Of observations that wait to be told: of about a thousand requests.
_MOST_UNTOLD = 5_000

Labels = tuple[tuple[str, str], ...]


class ServeMetrics:
    """A listener of `serving.access`: counts each request, its posters, their stages, and what they were told.

    Ray puts `ray_` before the names, and `_total` after those of counters. Its own `ray_serve_…` have the queues and
    the replicas. Ray hears of it all by `tell`: a call of Ray's gives Python's lock away, and to do so ten times with
    each request kept the event loop waiting as often.
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
        self._turned_away = Gauge(
            "onesheet_turned_away", "Requests that HAProxy has turned away since it was last configured."
        )
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
        self._lock = threading.Lock()
        self._untold = _Untold()

    def __call__(self, access: Access) -> None:
        """Count a request that has ended."""
        with self._lock:
            self._count(access, self._untold)
            is_full = len(self._untold.observed) > _MOST_UNTOLD
        if is_full:
            self.tell()

    def _count(self, access: Access, untold: _Untold) -> None:
        # Of what no model answered, there is none.
        answered = (("path", access.path), ("version", access.version or "none"))
        untold.counted[self._requests, (*answered, ("status", str(access.status)))] += 1
        untold.observed.append((self._request_ms, access.ms, answered))
        if access.posters:
            untold.queued = access.queued
            untold.observed.append((self._queued_ms, access.queued_ms, ()))
        if access.path != "/v1/predict" or not access.posters or access.version is None:
            return
        version = ("version", access.version)
        untold.observed.append((self._batch, access.posters, ()))
        scored = len(access.predictions)
        untold.counted[self._posters, (version, ("outcome", "scored"))] += scored
        untold.counted[self._posters, (version, ("outcome", "refused"))] += access.posters - scored
        for prediction in access.predictions:
            untold.observed.append((self._decode_ms, prediction.decode_ms, ()))
            for genre in prediction.genres:
                labels = (("genre", genre.genre), version)
                untold.counted[self._scores, labels] += genre.score
                if genre.passes:
                    untold.counted[self._genres, labels] += 1
        # The same for all posters of a batch.
        for predict_ms in {prediction.predict_ms for prediction in access.predictions}:
            untold.observed.append((self._predict_ms, predict_ms, (version,)))

    def tell(self, turned_away: int | None = None) -> None:
        """Tell Ray what was counted since the last time; the follower's looks are often enough.

        turned_away: by HAProxy in all, where it counts.
        """
        with self._lock:
            untold, self._untold = self._untold, _Untold()
        if turned_away is not None:
            self._turned_away.set(turned_away)
        if untold.queued is not None:
            self._queued.set(untold.queued)
        for (counter, labels), count in untold.counted.items():
            if count > 0:
                counter.inc(count, dict(labels))
        for histogram, value, labels in untold.observed:
            # Ray's take no 0.
            histogram.observe(max(value, 1e-3), dict(labels))


class _Untold:
    """What Ray has not heard of yet. queued: as the newest request with posters met it."""

    def __init__(self) -> None:
        self.queued: int | None = None
        self.counted: defaultdict[tuple[Counter, Labels], float] = defaultdict(float)
        self.observed: list[tuple[Histogram, float, Labels]] = []
