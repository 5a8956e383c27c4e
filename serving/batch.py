"""The genres of millions of posters: object storage in, Parquet out, over Ray Data; what is done is not done again.

    OUTPUT/_plan.json                 what was asked
    OUTPUT/_keys/00000.parquet        the posters' keys, listed once
    OUTPUT/part-00000-0000.parquet    their genres, a row a poster, in the order of the keys

A part appears whole or not at all, so whoever is killed loses the parts under way. pandas, pyarrow and DuckDB read the
folder as one table, for they skip names that begin with `_`.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import KeyNotFoundError, OnesheetError, ServingError
from cluster.resources import room_for
from cluster.store import Store, open_store
from crawler.outcomes import Reason, Rejected
from serving.predictor import Prediction, Predictor, predict_among
from training.bundle import MODEL_FILE
from training.export import GRAPH_FILE, WEIGHTS_FILE
from training.registry import Registry

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_PLAN = "_plan.json"
_KEYS_A_FILE = 102_400
_POSTERS_A_PART = 1024
# In memory at the same time, as bytes.
_AT_ONCE = 32
_THREADS = 8
_TELL_S = 60.0
# In the schema of each part: how many of its posters were refused.
_REFUSED = b"onesheet.refused"
# Of a bundle: the index of similar posters, which may be larger than all of them, is not asked.
_FILES = (MODEL_FILE, GRAPH_FILE, WEIGHTS_FILE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked of a batch. posters: in all; parts: of so many posters, the last of each file of keys of fewer."""

    input: str
    version: str
    posters: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the whole output. made: parts that this run made, of `parts`."""

    posters: int
    refused: int
    parts: int
    made: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows `start` to `start + count` of a file of keys."""

    file: int
    start: int
    count: int
    key: str


def predict_all(
    registry: Registry,
    version: str | None,
    *,
    input_url: str,
    output_url: str,
    max_pixels: int,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
    cpus_per_worker: int = 1,
    gpus_per_worker: int = 0,
) -> Totals:
    """Score every picture below `input_url`, on so many actors, or on as many as find room. Ray must be connected.

    Run again, it goes on where it ended. Raises ServingError where the output holds another batch, and StoreError.
    """
    import ray  # noqa: PLC0415

    output = open_store(output_url)
    plan = _planned(registry, version, input_url, output)
    parts = list(_parts(plan))
    there = set(output.list("part-"))
    missing = [part for part in parts if part.key not in there]
    say(f"{plan.posters:,} posters below {plan.input}, {len(parts):,} parts, {len(parts) - len(missing):,} done before")
    if missing:
        room = room_for(ray.cluster_resources(), cpus=cpus_per_worker, gpus=gpus_per_worker)
        each = {"num_cpus": cpus_per_worker, **({"num_gpus": gpus_per_worker} if gpus_per_worker else {})}
        actors = min(len(missing), workers or room, room)
        done, began, told_at = len(parts) - len(missing), time.monotonic(), time.monotonic()
        progress(done, len(parts))
        told = {"registry_url": registry.store.url, "output_url": output.url, "max_pixels": max_pixels}
        for _ in _scored(missing, plan, told, actors=actors, each=each):
            done += 1
            progress(done, len(parts))
            if time.monotonic() - told_at > _TELL_S:
                told_at = time.monotonic()
                rate = (done - len(parts) + len(missing)) * _POSTERS_A_PART / (told_at - began)
                say(f"  {done:,} of {len(parts):,} parts, {rate:.0f} posters/s")
    refused = sum(_refused(output, part) for part in parts)
    totals = Totals(plan.posters, refused, len(parts), len(missing))
    output.put("_summary.json", json.dumps(asdict(plan) | asdict(totals), indent=2).encode())
    return totals


def _planned(registry: Registry, version: str | None, input_url: str, output: Store) -> Plan:
    try:
        kept = Plan(**json.loads(output.get(_PLAN)))
    except KeyNotFoundError:
        kept = None
    posters = open_store(input_url)
    if kept is None:
        card = registry.card(version or registry.production_or_raise().version)
        count = _list_keys(posters, output)
        plan = Plan(posters.url, card.version, count)
        output.put(_PLAN, json.dumps(asdict(plan), indent=2).encode())
        return plan
    # A batch that was begun ends with its own model, whatever is in production by now.
    wanted = registry.card(version).version if version else kept.version
    if (kept.input, kept.version) != (posters.url, wanted):
        raise ServingError(
            f"{output.url} holds the genres of {kept.input} by {kept.version}; "
            "give another --output, or the same --input and --model to go on"
        )
    return kept


def _list_keys(posters: Store, output: Store) -> int:
    """Keep the keys of all pictures in the output; how many there are. The plan is written after them."""
    count = 0
    keys = (key for key in posters.list() if key.lower().endswith(SUFFIXES))
    for place, some in enumerate(_batches(keys, _KEYS_A_FILE)):
        _put_table(output, _keys_key(place), pa.table({"poster": some}))
        count += len(some)
    if not count:
        raise ServingError(f"{posters.url} has no pictures: no name ends with {', '.join(SUFFIXES)}")
    return count


def _parts(plan: Plan) -> Iterator[_Part]:
    for file in range(math.ceil(plan.posters / _KEYS_A_FILE)):
        rows = min(_KEYS_A_FILE, plan.posters - file * _KEYS_A_FILE)
        for number, start in enumerate(range(0, rows, _POSTERS_A_PART)):
            count = min(_POSTERS_A_PART, rows - start)
            yield _Part(file, start, count, f"part-{file:05}-{number:04}.parquet")


def _scored(
    parts: list[_Part], plan: Plan, told: dict[str, Any], *, actors: int, each: dict[str, int]
) -> Iterator[dict[str, Any]]:
    import ray  # noqa: PLC0415

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [asdict(part) for part in parts]
    made = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        PartMaker,
        fn_constructor_kwargs={"plan": asdict(plan), **told},
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": str(each["num_cpus"])}},
        **each,
    )
    try:
        yield from made.iter_rows()
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, OnesheetError):
            raise cause from error
        raise ServingError(f"a part failed: {str(error).strip().splitlines()[-1]}; run it again to go on") from error


class PartMaker:
    """An actor with the model."""

    def __init__(self, plan: dict[str, Any], registry_url: str, output_url: str, max_pixels: int) -> None:
        self._plan = Plan(**plan)
        self._threads = ThreadPoolExecutor(_THREADS)
        self._input, self._output = open_store(self._plan.input), open_store(output_url)
        with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
            card = Registry(open_store(registry_url)).fetch(self._plan.version, Path(folder), only=_FILES)
            # There is an actor a core.
            self._predictor = Predictor.load(Path(folder), card, max_pixels=max_pixels, threads=1)

    def __call__(self, rows: pa.Table) -> pa.Table:
        for row in rows.to_pylist():
            self._make(_Part(**row))
        return rows

    def _make(self, part: _Part) -> None:
        file = pq.read_table(io.BytesIO(self._output.get(_keys_key(part.file))))
        keys = file["poster"].slice(part.start, part.count).to_pylist()
        outcomes: list[Prediction | Rejected] = []
        for some in _batches(keys, _AT_ONCE):
            read = list(self._threads.map(self._read, some))
            outcomes += predict_among(self._predictor.predict, read)
        _put_table(self._output, part.key, table_of(keys, outcomes, self._predictor.card.genres))

    def _read(self, key: str) -> bytes | Rejected:
        try:
            return self._input.get(key)
        except KeyNotFoundError:
            return Rejected(Reason.NOT_FOUND, "it was there when the batch began")


def table_of(keys: list[str], outcomes: list[Prediction | Rejected], genres: tuple[str, ...]) -> pa.Table:
    """A row a poster: `poster`, `predicted`, `reason` and `detail` where it was refused, and each genre's score.

    Scores are float32, null for a poster that was refused.
    """
    scored = [
        {score.genre: score.score for score in outcome.genres} if isinstance(outcome, Prediction) else {}
        for outcome in outcomes
    ]
    refused = [outcome if isinstance(outcome, Rejected) else None for outcome in outcomes]
    columns: dict[str, pa.Array] = {
        "poster": pa.array(keys, pa.string()),
        "predicted": pa.array(
            [list(it.predicted) if isinstance(it, Prediction) else None for it in outcomes], pa.list_(pa.string())
        ),
        "reason": pa.array([it and it.reason.value for it in refused], pa.string()),
        "detail": pa.array([it and it.detail for it in refused], pa.string()),
        **{genre: pa.array([scores.get(genre) for scores in scored], pa.float32()) for genre in genres},
    }
    count = sum(1 for it in refused if it)
    return pa.table(columns).replace_schema_metadata({_REFUSED: str(count).encode()})


def _refused(output: Store, part: _Part) -> int:
    with output.open(part.key) as file:
        metadata = pq.read_schema(file).metadata or {}
    return int(metadata.get(_REFUSED, b"0"))


def _keys_key(file: int) -> str:
    return f"_keys/{file:05}.parquet"


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    waiting = iter(items)
    while some := list(islice(waiting, size)):
        yield some


def _put_table(store: Store, key: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    store.put(key, sink.getvalue())
