"""The pass over a dataset that makes a model's index: every poster of every split, each seen once.

Where the model has frozen backbones, their kept features of train and validation are read in place of the posters. The
projection is fitted to the posters of some shards, spread over the dataset; those of the others are encoded as they are
seen, so that memory holds DIMENSIONS bytes a poster.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.store import Store, open_store
from training.architecture import Network
from training.bundle import MODEL_FILE
from training.dataset import SPLITS, Card, read_card
from training.embedding import Embedder
from training.features import KEPT_SPLITS, feature_key
from training.similar import SCHEMA, Codes, Floats, PosterIndex, encode, fit_projection, joined_titles

# Posters that the projection is fitted to; and what their features may take in memory.
_FIT_POSTERS = 8192
_FIT_BYTES = 1 << 29
# Below, an actor would take longer to start than to do it.
_POSTERS_AN_ACTOR = 1024

Shard = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Helpers:
    """Who may help with posters that have to be looked at: Ray actors, of which Ray must be connected."""

    actors: int = 1
    cpus: int = 1
    gpus: int = 0


def make_index(
    network: Network,
    store: Store,
    card: Card,
    helpers: Helpers,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PosterIndex:
    """The index of a dataset by what a trained network sees. progress: gets shards done, and all."""
    shards = [(split, number) for split in SPLITS for number in range(len(card.shards[split]))]
    began, done = time.monotonic(), 0
    with _Source(network, store, card, helpers) as source:
        fitted: dict[Shard, Floats] = {}
        for shard, features in source.of(_spread(shards, card)):
            fitted[shard] = features
            progress(len(fitted), len(shards))
        whole = np.concatenate(list(fitted.values()))
        projection = fit_projection(whole[:: max(1, -(-whole.nbytes // _FIT_BYTES))])
        del whole
        codes: dict[Shard, Codes] = {shard: encode(features, projection) for shard, features in fitted.items()}
        done = len(codes)
        for shard, encoded in source.of([shard for shard in shards if shard not in codes], projection):
            codes[shard] = encoded
            done += 1
            progress(done, len(shards))
    titles = joined_titles([_titles(store, card, *shard) for shard in shards])
    index = PosterIndex(titles, np.concatenate([codes[shard] for shard in shards]), projection)
    say(f"index of {len(index):,} posters in {time.monotonic() - began:.0f} s")
    return index


class _Source:
    """What a network sees in the posters of shards. A context manager: leaving it ends its actors."""

    def __init__(self, network: Network, store: Store, card: Card, helpers: Helpers) -> None:
        self._network, self._store, self._card, self._helpers = network, store, card, helpers
        self._of_features = Embedder(network.trained) if network.trunks else None
        self._here = ShardEmbedder(store, card, network.model)
        self._actors: list[Any] = []

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._actors:
            import ray  # noqa: PLC0415

            for actor in self._actors:
                ray.kill(actor)

    def of(self, shards: Sequence[Shard], projection: Floats | None = None) -> Iterator[tuple[Shard, Any]]:
        """Each shard with its features, or with their codes where there is a projection; in any order."""
        seen = [shard for shard in shards if self._of_features is None or shard[0] not in KEPT_SPLITS]
        for shard in shards:
            if shard not in seen:
                features = self._kept(*shard)
                yield shard, features if projection is None else encode(features, projection)
        # About: the last shard of a split has fewer.
        posters = sum(self._card.posters[split] / len(self._card.shards[split]) for split, _ in seen)
        if posters <= _POSTERS_AN_ACTOR and not self._actors:
            for shard in seen:
                yield shard, self._here.embed(*shard, projection)
        else:
            yield from self._elsewhere(seen, projection)

    def _kept(self, split: str, number: int) -> Floats:
        keys = [
            feature_key(self._card, trunk, pooling, split, number)
            for trunk in self._network.trunks
            for pooling in trunk.poolings
        ]
        parts = [np.load(io.BytesIO(self._store.get(key)), allow_pickle=False) for key in keys]
        assert self._of_features is not None  # noqa: S101  only called where there are trunks
        return self._of_features(np.concatenate(parts, axis=1, dtype=np.float32))

    def _elsewhere(self, shards: Sequence[Shard], projection: Floats | None) -> Iterator[tuple[Shard, Any]]:
        import ray  # noqa: PLC0415
        from ray.util import ActorPool  # noqa: PLC0415

        if not self._actors:
            self._actors = self._started(min(self._helpers.actors, len(shards)))
        shared = ray.put(projection)

        def ask(actor: Any, shard: Shard) -> Any:
            return actor.embed_named.remote(*shard, shared)

        yield from ActorPool(self._actors).map_unordered(ask, shards)

    def _started(self, count: int) -> list[Any]:
        import ray  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="onesheet-index-") as folder:
            path = Path(folder, MODEL_FILE)
            self._network.model.save(path)
            model = ray.put(path.read_bytes())
        maker = ray.remote(IndexActor).options(
            num_cpus=self._helpers.cpus,
            num_gpus=self._helpers.gpus,
            max_restarts=2,
            max_task_retries=2,
            runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": str(self._helpers.cpus)}},
        )
        return [maker.remote(self._store.url, self._card.dataset_id, model) for _ in range(count)]


class ShardEmbedder:
    """Looks at the posters of shards."""

    def __init__(self, store: Store, card: Card, model: Any) -> None:
        """model: a keras.Model, images → scores."""
        self._store, self._card = store, card
        self._size = dict(zip(("height_px", "width_px"), model.input_shape[1:3], strict=True))
        self._embedder = Embedder(model)

    def embed(self, split: str, number: int, projection: Floats | None) -> Any:
        """float32 [posters, F] features of a shard, or int8 [posters, D] codes where there is a projection."""
        from training.rows import Rows  # noqa: PLC0415
        from training.scoring import predict  # noqa: PLC0415

        with Rows(self._store, self._card, split, shards=[number]) as rows:
            features = predict(self._embedder.forward, rows, **self._size)
        return features if projection is None else encode(features, projection)


class IndexActor:
    """A ShardEmbedder on a node, with the model that is about to be registered."""

    def __init__(self, store_url: str, dataset_id: str, model: bytes) -> None:
        """model: as Keras saves it."""
        import keras  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="onesheet-index-") as folder:
            path = Path(folder, MODEL_FILE)
            path.write_bytes(model)
            loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
        store = open_store(store_url)
        self._embedder = ShardEmbedder(store, read_card(store, dataset_id), loaded)

    def embed_named(self, split: str, number: int, projection: Floats | None) -> tuple[Shard, Any]:
        """As `ShardEmbedder.embed`, with the shard's name."""
        return (split, number), self._embedder.embed(split, number, projection)


def _spread(shards: Sequence[Shard], card: Card) -> list[Shard]:
    """As many shards as the projection is fitted to, evenly over all."""
    posters = sum(card.posters.values())
    count = max(1, min(len(shards), round(len(shards) * _FIT_POSTERS / max(1, posters))))
    return [shards[place * len(shards) // count] for place in range(count)]


def _titles(store: Store, card: Card, split: str, number: int) -> pa.Table:
    # Not the whole shard: nearly all of it is pictures.
    with store.open(card.shards[split][number]) as file:
        return pq.read_table(file, columns=SCHEMA.names)
