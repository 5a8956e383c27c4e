"""The follower: keeps the production model loaded, and a candidate beside it, and swaps them when the pointer moves."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cluster.errors import KeyNotFoundError, StoreError
from serving.predictor import Predictor
from training.registry import Candidate, Production, Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """A version that was promoted, or is to be tried, and could not be loaded, and why; requests go elsewhere."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Canary:
    """A candidate, loaded and warm, and its share of the requests."""

    predictor: Predictor
    share: float


class Follower:
    """One predictor at a time, replaced whole: a request sees the old model or the new one, never a part.

    While a canary runs there is a second one; `serving.canary` says which request is its. The one before stays in
    memory until another is loaded, so the way back takes no longer than a look at the pointer: at rest there are two
    models at most.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        poll_interval_s: float,
        max_pixels: int,
        load: Callable[..., Predictor] = Predictor.load,
        on_poll: Callable[[Follower], None] = lambda follower: None,
    ) -> None:
        """load: `Predictor.load`, or that with a runtime and batches of one's choice.

        on_poll: hears of the follower after each look at the pointer.
        """
        self._load_predictor = load
        self.registry = registry
        self.poll_interval_s = poll_interval_s
        self.max_pixels = max_pixels
        self.predictor: Predictor | None = None
        self.canary: Canary | None = None
        self._before: Predictor | None = None
        self.refused: Refused | None = None
        self.refused_candidate: Refused | None = None
        self._refused_promotion: tuple[str, datetime] | None = None
        self._refused_canary: tuple[str, datetime] | None = None
        self._on_poll = on_poll
        self._is_following = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Load the production model, then follow the pointer in the background until `stop`."""
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        """End the background thread, and tell `on_poll` a last time; a load in progress is not waited for."""
        self._stop.set()
        self._tell()

    def poll(self) -> None:
        """Look at the pointer once, load and swap in what it names. Never raises: the old model goes on serving."""
        try:
            production = self.registry.production()
            if production is not None:
                self._turn_to(production)
                self._try_out(production.candidate)
            self._is_following = True
        except Exception as error:  # the thread must outlive any outage
            # Said once an outage, not once a poll.
            if self._is_following:
                log.warning("the production model cannot be followed: %s", error)
                log.debug("the outage's traceback", exc_info=True)
            self._is_following = False
        self._tell()

    def _tell(self) -> None:
        try:
            self._on_poll(self)
        except Exception:  # nor does what hears of it
            log.exception("the models' metrics cannot be told")

    def _turn_to(self, production: Production) -> None:
        promotion = (production.version, production.promoted_at)
        if promotion == self._refused_promotion:
            return
        refused = None
        if self.predictor is None or self.predictor.version != production.version:
            refused = self._swap_in(production.version)
            if self.predictor is None:
                # A replica that starts while a broken version is in production serves what its siblings still serve.
                any(self._swap_in(version) is None for version in reversed(production.previous))
        self.refused = refused
        self._refused_promotion = promotion if refused else None

    def _swap_in(self, version: str) -> Refused | None:
        """Serve the version, or say why not."""
        found = self._get(version)
        if isinstance(found, Refused):
            return found
        self.predictor, self._before = found, self.predictor
        log.info("serving model version %s", version)
        return None

    def _try_out(self, candidate: Candidate | None) -> None:
        if candidate is None or self.predictor is None or candidate.version == self.predictor.version:
            if self.canary:
                log.info("the canary of model version %s has ended", self.canary.predictor.version)
            self.canary = self.refused_candidate = self._refused_canary = None
            return
        trial = (candidate.version, candidate.started_at)
        if trial == self._refused_canary:
            return
        if self.canary and self.canary.predictor.version == candidate.version:
            self.canary = Canary(self.canary.predictor, candidate.share)
            return
        # One that is no longer tried stops at once, however long the next one loads.
        self.canary = self.refused_candidate = self._refused_canary = None
        found = self._get(candidate.version)
        if isinstance(found, Refused):
            self.refused_candidate, self._refused_canary = found, trial
            return
        self.canary = Canary(found, candidate.share)
        log.info("trying model version %s on %g of the requests", candidate.version, candidate.share)

    def _get(self, version: str) -> Predictor | Refused:
        """The version as it is in memory, or else loaded; or why not."""
        for there in (self.canary.predictor if self.canary else None, self._before):
            if there is not None and there.version == version:
                return there
        # Its memory is for the one that comes.
        self._before = None
        return self._load(version)

    def _load(self, version: str) -> Predictor | Refused:
        """The version, loaded and warm, or why not. Raises what may have passed at the next poll."""
        try:
            with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
                card = self.registry.fetch(version, Path(folder))
                return self._load_predictor(Path(folder), card, max_pixels=self.max_pixels)
        except Exception as error:
            is_lasting = isinstance(error, KeyNotFoundError) or not isinstance(error, StoreError | OSError)
            if not is_lasting:
                raise
            log.warning("model version %s is refused: %s", version, error)
            log.debug("the refusal's traceback", exc_info=True)
            return Refused(version, str(error))

    def _follow(self) -> None:
        while not self._stop.wait(self.poll_interval_s):
            self.poll()
