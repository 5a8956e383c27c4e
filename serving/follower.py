"""The follower: keeps the production model loaded, and swaps it when the registry's pointer moves."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import KeyNotFoundError, StoreError
from serving.predictor import Predictor
from training.registry import Production, Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """A promoted version that could not be loaded, and why; the version before it goes on serving."""

    version: str
    reason: str


class Follower:
    """One predictor at a time, replaced whole: a request sees the old model or the new one, never a part."""

    def __init__(
        self,
        registry: Registry,
        *,
        poll_interval_s: float,
        max_pixels: int,
        load: Callable[..., Predictor] = Predictor.load,
    ) -> None:
        """load: `Predictor.load`, or that with a runtime and batches of one's choice."""
        self._load_predictor = load
        self.registry = registry
        self.poll_interval_s = poll_interval_s
        self.max_pixels = max_pixels
        self.predictor: Predictor | None = None
        self.refused: Refused | None = None
        self._refused_promotion: Production | None = None
        self._is_following = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Load the production model, then follow the pointer in the background until `stop`."""
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        """End the background thread; a load in progress is not waited for."""
        self._stop.set()

    def poll(self) -> None:
        """Look at the pointer once, load and swap in what it names. Never raises: the old model goes on serving."""
        try:
            production = self.registry.production()
            if production is not None:
                self._turn_to(production)
            self._is_following = True
        except Exception as error:  # the thread must outlive any outage
            # Said once an outage, not once a poll.
            if self._is_following:
                log.warning("the production model cannot be followed: %s", error)
                log.debug("the outage's traceback", exc_info=True)
            self._is_following = False

    def _turn_to(self, production: Production) -> None:
        if production == self._refused_promotion:
            return
        refused = None
        if self.predictor is None or self.predictor.card.version != production.version:
            refused = self._load(production.version)
            if self.predictor is None:
                # A replica that starts while a broken version is in production serves what its siblings still serve.
                any(self._load(version) is None for version in reversed(production.previous))
        self.refused = refused
        self._refused_promotion = production if refused else None

    def _load(self, version: str) -> Refused | None:
        """Swap the version in, or say why not. Raises what may have passed at the next poll."""
        try:
            with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
                card = self.registry.fetch(version, Path(folder))
                self.predictor = self._load_predictor(Path(folder), card, max_pixels=self.max_pixels)
        except Exception as error:
            is_lasting = isinstance(error, KeyNotFoundError) or not isinstance(error, StoreError | OSError)
            if not is_lasting:
                raise
            log.warning("model version %s is refused: %s", version, error)
            log.debug("the refusal's traceback", exc_info=True)
            return Refused(version, str(error))
        log.info("serving model version %s", version)
        return None

    def _follow(self) -> None:
        while not self._stop.wait(self.poll_interval_s):
            self.poll()
