"""The Ray Serve application: replicas of the HTTP interface that follow the production model.

For a Serve configuration file: `import_path: serving.app:build_app`, with the fields of ServeOptions as `args`.
"""

# No `from __future__ import annotations`: Ray reads build_app's annotation to validate a configuration file's args.
import asyncio
import logging
import os
from functools import partial
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from cluster.errors import ServingError
from serving.batching import DEFAULT_MAX_BATCH
from serving.limits import RateLimiter, read_rate
from training.runtimes import RuntimeName

# Two cores to one replica answer more, and sooner, than to two replicas.
CPUS_PER_REPLICA = 2
APP_NAME = "onesheet"
_LIMITER = "limiter"
_LIMITER_TIMEOUT_S = 1.0
# For requests that only hear that they are too many.
_ROOM = 100
_GRACE_S = 5.0


class ServeOptions(BaseModel):
    """How the application serves; `store` is the only one without a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(description="Object storage: s3://bucket/prefix, or a folder that every node has.")
    min_replicas: int = Field(
        default=1, ge=0, description="Replicas that always run; with 0, the first request after a pause waits for one."
    )
    max_replicas: int = Field(default=2, ge=1, description="Replicas under the heaviest load.")
    cpus_per_replica: int = Field(
        default=CPUS_PER_REPLICA,
        ge=1,
        description="What Ray keeps free for each replica, and the threads that run its model.",
    )
    target_ongoing_requests: float = Field(
        default=2, gt=0, description="Requests a replica before another one is started."
    )
    upscale_delay_s: float = Field(default=5, ge=0, description="Seconds of more load before a replica is added.")
    downscale_delay_s: float = Field(
        default=300, ge=0, description="Seconds of less load before one is taken away, and the last one too."
    )
    max_ongoing_requests: int | None = Field(
        default=None,
        ge=1,
        description="Requests that a replica works on at once, by default five a CPU; the others wait for their turn.",
    )
    max_queued_requests: int = Field(
        default=64, ge=0, description="Requests that wait in a replica; when more do, it is overloaded."
    )
    max_overload_requests: int = Field(
        default=2, ge=1, description="Requests inside an overloaded replica; the others are answered with 503 at once."
    )
    max_upload_bytes: int = Field(default=20_000_000, gt=0, description="A larger request is answered with 413.")
    max_posters: int = Field(default=64, ge=1, description="More posters in one request are answered with 413.")
    max_pixels: int = Field(default=50_000_000, gt=0, description="An image of more pixels is never decoded.")
    runtime: RuntimeName = Field(
        default="openvino", description="What runs the model: openvino, or tensorflow, which alone uses a GPU."
    )
    max_batch: int = Field(default=DEFAULT_MAX_BATCH, ge=1, description="Posters that are scored together.")
    batch_wait_ms: float = Field(default=0, ge=0, description="Milliseconds that a batch waits for more posters.")
    fetch_urls: bool = Field(default=False, description="Fetch posters that a request names by URL, from public hosts.")
    url_networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="Networks that a URL may lead to besides, such as that of picture hosts of your own."
    )
    url_timeout_s: float = Field(default=10, gt=0, description="Seconds for each URL, redirects included.")
    show_posters: bool = Field(
        default=False, description="Show small pictures of similar posters; that needs a right to (docs/legal.md)."
    )
    request_timeout_s: float = Field(default=60, gt=0, description="A request that takes longer is answered with 504.")
    rate_limit: str | None = Field(
        default=None,
        description="Of a caller's requests to all replicas, such as 100/minute; a caller is a key's, else an address.",
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="Networks of proxies whose X-Forwarded-For says who asks; by default none is believed."
    )
    canary_by: Literal["request", "caller"] = Field(
        default="request", description="What a candidate gets a share of: the requests, or the callers, each its own."
    )
    drift_window: int = Field(
        default=1000, ge=100, description="The last posters of a replica, in which drift is looked for."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Origins such as https://example.org whose pages may ask; none by default."
    )
    poll_interval_s: float = Field(default=5, gt=0, description="Seconds between looks at the production pointer.")

    @property
    def working(self) -> int:
        """Requests that a replica works on at once: enough for a batch in each lane and the next ones' decoding.

        With more of them, the threads that decode keep the event loop waiting, and a burst is noticed too late.
        """
        return self.max_ongoing_requests or max(5 * self.cpus_per_replica, 2 * self.max_batch)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.rate_limit is not None:
            try:
                read_rate(self.rate_limit)
            except ServingError as error:
                raise ValueError(str(error)) from error
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})")
        return self

    # After the other one, whose errors it tells as well.
    @model_validator(mode="wrap")
    @classmethod
    def _in_a_sentence(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Say what is wrong in one sentence: Ray puts it into the application's status, after a traceback."""
        try:
            return validate(given)
        except ValidationError as error:
            raise ServingError(_sentence(error, tuple(cls.model_fields))) from error


def _sentence(error: ValidationError, known: tuple[str, ...]) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name} is no option of the application; it has {', '.join(known)}"
    if first["type"] == "missing":
        return f"{name} is missing among the application's options"
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}={first['input']!r} is not valid: {message}" if name else message


def build_app(options: ServeOptions) -> Any:
    """The ray.serve.Application: deploy it with `ray.serve.run(app, name=APP_NAME, route_prefix="/")`."""
    from ray import serve  # noqa: PLC0415
    from ray.serve.schema import LoggingConfig  # noqa: PLC0415

    def api() -> Any:
        return _replica_api(options)

    class Posters:
        """The class that Serve wants; the interface is all in `serving.interface`."""

        def __init__(self, limiter: Any = None) -> None:
            """limiter: deployed beside; the interface finds it by its name."""

    deployment = serve.deployment(
        serve.ingress(api)(Posters),
        name="posters",
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_ongoing_requests,
            "upscale_delay_s": options.upscale_delay_s,
            "downscale_delay_s": options.downscale_delay_s,
        },
        # The replica itself says who waits and who is turned away, as a problem; Ray, in plain text, only beyond that.
        max_ongoing_requests=options.working + options.max_queued_requests + _ROOM,
        max_queued_requests=options.max_queued_requests + _ROOM,
        # A replica that goes answers whatever it has, and takes no longer for it than a request may take.
        graceful_shutdown_timeout_s=options.request_timeout_s + _GRACE_S,
        ray_actor_options={"num_cpus": options.cpus_per_replica},
        logging_config=LoggingConfig(enable_access_log=False),
    )
    if options.rate_limit is None:
        return deployment.bind()
    limiter = serve.deployment(
        RateLimiter, name=_LIMITER, num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0}
    )
    return deployment.bind(limiter.bind(options.rate_limit))


def _replica_api(options: ServeOptions) -> Any:
    """Runs on the replica; only here are the model's runtime and FastAPI imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(options.cpus_per_replica))
    from ray import get_runtime_context  # noqa: PLC0415

    from cluster.settings import load_settings  # noqa: PLC0415
    from cluster.store import open_store  # noqa: PLC0415
    from serving.access import write_line  # noqa: PLC0415
    from serving.admission import Admission  # noqa: PLC0415
    from serving.drift import DriftWatch  # noqa: PLC0415
    from serving.fetching import Fetcher  # noqa: PLC0415
    from serving.follower import Follower  # noqa: PLC0415
    from serving.haproxy import admin_socket  # noqa: PLC0415
    from serving.interface import Limits, build_api  # noqa: PLC0415
    from serving.keys import Keys  # noqa: PLC0415
    from serving.logs import log_beside_serve  # noqa: PLC0415
    from serving.metrics import ServeMetrics  # noqa: PLC0415
    from serving.model_metrics import ModelMetrics  # noqa: PLC0415
    from serving.predictor import Predictor  # noqa: PLC0415
    from serving.proxy_rules import turned_away  # noqa: PLC0415
    from serving.thumbnails import Thumbnails  # noqa: PLC0415
    from training.registry import Registry  # noqa: PLC0415

    write_lines = log_beside_serve()
    watch = DriftWatch(window=options.drift_window)
    metrics, tell_models = ServeMetrics(), ModelMetrics(watch)
    proxy = admin_socket(get_runtime_context().get_node_id())

    def tell(follower: Follower) -> None:
        tell_models(follower)
        metrics.tell(turned_away(proxy) if proxy else None)
        write_lines()

    follower = Follower(
        Registry(open_store(options.store)),
        poll_interval_s=options.poll_interval_s,
        max_pixels=options.max_pixels,
        on_poll=tell,
        load=partial(
            Predictor.load,
            runtime=options.runtime,
            threads=options.cpus_per_replica,
            max_batch=options.max_batch,
            batch_wait_ms=options.batch_wait_ms,
        ),
    )
    fetcher = Fetcher(
        max_bytes=options.max_upload_bytes, timeout_s=options.url_timeout_s, networks=options.url_networks
    )
    thumbnails = Thumbnails(follower.registry.store, max_bytes=options.max_upload_bytes, max_pixels=options.max_pixels)
    keys = load_settings().api_keys
    return build_api(
        follower,
        Limits(
            max_upload_bytes=options.max_upload_bytes,
            max_posters=options.max_posters,
            timeout_s=options.request_timeout_s,
            fetcher=fetcher if options.fetch_urls else None,
            thumbnails=thumbnails if options.show_posters else None,
            keys=Keys.read(keys.get_secret_value()) if keys else None,
            limiter=SharedLimiter() if options.rate_limit else None,
            cors_origins=options.cors_origins,
            admission=Admission(
                max_ongoing=options.working,
                max_queued=options.max_queued_requests,
                max_in_overload=options.max_overload_requests,
            ),
            trusted_proxies=options.trusted_proxies,
            canary_by=options.canary_by,
            drift=watch,
            listeners=(write_line, metrics, watch),
            # Ray Serve's proxy gives each request an id and puts it there.
            tells_request_id=False,
        ),
    )


class SharedLimiter:
    """One count for all replicas; where that does not answer, nobody is turned away."""

    def __init__(self) -> None:
        from ray import serve  # noqa: PLC0415

        self._counts = serve.get_deployment_handle(_LIMITER, serve.get_replica_context().app_name)

    async def wait_s(self, caller: str) -> float:
        """See `serving.limits.Limiter`."""
        try:
            waiting: float = await asyncio.wait_for(self._counts.wait_s.remote(caller), _LIMITER_TIMEOUT_S)
        except Exception:  # whatever Ray and Serve raise
            logging.getLogger(__name__).warning("the rate limiter does not answer", exc_info=True)
            return 0.0
        return waiting
