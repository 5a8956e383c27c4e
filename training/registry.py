"""The registry: versioned bundles in the store, and the pointer to the one in production that serving follows."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import KeyExistsError, KeyNotFoundError, TrainingError
from cluster.store import Store
from training.bundle import CARD_FILE, BundleCard, BundleError, read_card, verify_files

log = logging.getLogger(__name__)

_ROOT = "models"
_PRODUCTION = f"{_ROOT}/production.json"


class RegistryError(TrainingError):
    """A version or a production model that the registry does not have, or will not replace."""


class Candidate(BaseModel):
    """A version that is tried on a share of the traffic, above 0 and below 1, beside the one in production."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    share: float = Field(gt=0, lt=1)
    started_at: AwareDatetime


class Production(BaseModel):
    """The version that serving follows. `previous`: the versions before it, newest last, for `rollback`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    promoted_at: AwareDatetime
    previous: tuple[str, ...] = ()
    candidate: Candidate | None = None


class Registry:
    """Bundles under `models/<version>/` of one store. A version, once registered, never changes."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def register(self, folder: Path, card: BundleCard) -> None:
        """Upload a bundle. Its card goes last, so a version is listed only when it is whole.

        Raises RegistryError if the version exists, BundleError if the folder is not what the card says.
        """
        verify_files(folder, card)
        taken = f"version {card.version} is registered already and never overwritten; choose another version"
        if self.has(card.version):
            raise RegistryError(taken)
        for name in card.files:
            with (folder / name).open("rb") as file:
                self.store.put_file(_key(card.version, name), file)
        data = card.model_dump_json(indent=2).encode()
        try:
            self.store.put(_key(card.version, CARD_FILE), data, content_type="application/json", if_absent=True)
        except KeyExistsError as error:
            raise RegistryError(taken) from error

    def has(self, version: str) -> bool:
        """Whether the version is registered."""
        return self.store.exists(_key(version, CARD_FILE))

    def versions(self) -> list[BundleCard]:
        """The registered versions, newest first. A card that cannot be read is left out and logged."""
        cards = []
        for key in self.store.list(f"{_ROOT}/"):
            if key.endswith(f"/{CARD_FILE}"):
                try:
                    cards.append(read_card(self.store.get(key)))
                except BundleError as error:
                    log.warning("%s is left out: %s", self.store.url_of(key), error)
        return sorted(cards, key=lambda card: (card.created_at, card.version), reverse=True)

    def card(self, version: str) -> BundleCard:
        """The version's card; `latest` is the newest one. Raises RegistryError that lists the known versions."""
        if version == "latest":
            known = self.versions()
            if not known:
                raise RegistryError(f"no model is registered in {self.store.url}; train one with `onesheet train`")
            return known[0]
        known_versions = {key.split("/")[1] for key in self.store.list(f"{_ROOT}/") if key.endswith(f"/{CARD_FILE}")}
        if version not in known_versions:
            known_text = ", ".join(sorted(known_versions, reverse=True)) or "none"
            raise RegistryError(f"there is no model version {version!r} in {self.store.url}; known: {known_text}")
        return read_card(self.store.get(_key(version, CARD_FILE)))

    def fetch(self, version: str, folder: Path, *, only: Collection[str] | None = None) -> BundleCard:
        """Download the version into `folder`, made if need be, and verify every file's sha256.

        only: names of files, of which those come that the version has; None for all. The card that is returned, and
        left in the folder, names what came.
        """
        card = self.card(version)
        if only is not None:
            card = card.model_copy(update={"files": {name: sha for name, sha in card.files.items() if name in only}})
        folder.mkdir(parents=True, exist_ok=True)
        for name in card.files:
            (folder / name).write_bytes(self.store.get(_key(card.version, name)))
        verify_files(folder, card)
        (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return card

    def production(self) -> Production | None:
        """The pointer, or None while nothing was promoted."""
        try:
            data = self.store.get(_PRODUCTION)
        except KeyNotFoundError:
            return None
        try:
            return Production.model_validate_json(data)
        except ValidationError as error:
            where = self.store.url_of(_PRODUCTION)
            raise RegistryError(f"{where} is damaged; run `onesheet models promote VERSION` to replace it") from error

    def production_or_raise(self) -> Production:
        """The pointer. Raises RegistryError that says how to promote a version."""
        production = self.production()
        if production is None:
            raise RegistryError("no model is in production; run `onesheet models promote VERSION`")
        return production

    def promote(self, version: str) -> Production:
        """Point production at the version; `latest` is the newest one. No change where it is in production already.

        A canary ends.
        """
        card = self.card(version)
        try:
            before = self.production()
        except RegistryError as error:
            log.warning("%s", error)
            before = None
        if before is not None and before.version == card.version:
            return self._put(before.model_copy(update={"candidate": None})) if before.candidate else before
        previous = () if before is None else (*before.previous, before.version)
        return self._point(card.version, previous)

    def rollback(self) -> Production:
        """Point production back at the version before it; a canary ends. Raises RegistryError where there is none."""
        current = self.production_or_raise()
        if not current.previous:
            raise RegistryError(f"there is nothing to roll back to: {current.version} is the first one in production")
        *older, target = current.previous
        return self._point(self.card(target).version, tuple(older))

    def canary(self, version: str, share: float) -> Production:
        """Send a share of the traffic to the version; `latest` is the newest one. Again, it changes the share.

        Raises RegistryError where the version is in production, and for a share that is not between 0 and 1.
        """
        current = self.production_or_raise()
        card = self.card(version)
        if card.version == current.version:
            raise RegistryError(f"{card.version} is in production already; a candidate is another version")
        if not 0 < share < 1:
            raise RegistryError(f"a share of {share:g} is not between 0 and 1; 0.1 is a tenth of the traffic")
        before = current.candidate
        started_at = before.started_at if before and before.version == card.version else datetime.now(UTC)
        candidate = Candidate(version=card.version, share=share, started_at=started_at)
        return self._put(current.model_copy(update={"candidate": candidate}))

    def stop_canary(self) -> Production:
        """Send all traffic to the production version again. Raises RegistryError where no canary runs."""
        current = self.production_or_raise()
        if current.candidate is None:
            raise RegistryError(f"no canary runs: all traffic goes to {current.version}")
        return self._put(current.model_copy(update={"candidate": None}))

    def _point(self, version: str, previous: tuple[str, ...]) -> Production:
        return self._put(Production(version=version, promoted_at=datetime.now(UTC), previous=previous))

    def _put(self, production: Production) -> Production:
        # Without a candidate the pointer is one that servers of before can read.
        data = production.model_dump_json(indent=2, exclude_none=True).encode()
        self.store.put(_PRODUCTION, data, content_type="application/json")
        return production


def _key(version: str, name: str) -> str:
    return f"{_ROOT}/{version}/{name}"
