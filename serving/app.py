"""The Ray Serve application: replicas of the HTTP interface that follow the production model.

For a Serve configuration file: `import_path: serving.app:build_app`, with the fields of ServeOptions as `args`.
"""

# No `from __future__ import annotations`: Ray reads build_app's annotation to validate a configuration file's args.
import logging
import os
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

APP_NAME = "onesheet"


class ServeOptions(BaseModel):
    """How the application serves; `store` is the only one without a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(description="Object storage: s3://bucket/prefix, or a folder that every node has.")
    min_replicas: int = Field(default=1, ge=1, description="Replicas that always run.")
    max_replicas: int = Field(default=2, ge=1, description="Replicas under the heaviest load.")
    target_ongoing_requests: float = Field(
        default=2, gt=0, description="Requests a replica before another one is started."
    )
    max_queued_requests: int = Field(
        default=100, ge=1, description="Requests that wait; further ones are answered with 503."
    )
    max_upload_bytes: int = Field(default=20_000_000, gt=0, description="A larger request is answered with 413.")
    max_posters: int = Field(default=64, ge=1, description="More posters in one request are answered with 413.")
    max_pixels: int = Field(default=50_000_000, gt=0, description="An image of more pixels is never decoded.")
    poll_interval_s: float = Field(default=5, gt=0, description="Seconds between looks at the production pointer.")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})")
        return self


def build_app(options: ServeOptions) -> Any:
    """The ray.serve.Application: deploy it with `ray.serve.run(app, name=APP_NAME, route_prefix="/")`."""
    from ray import serve  # noqa: PLC0415
    from ray.serve.schema import LoggingConfig  # noqa: PLC0415

    def api() -> Any:
        return _replica_api(options)

    class Posters:
        """The class that Serve wants; the interface is all in `serving.interface`."""

    deployment = serve.deployment(
        serve.ingress(api)(Posters),
        name="posters",
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_ongoing_requests,
        },
        # Above the target, or load would never show; not far above, or one replica hoards what its sibling could do.
        max_ongoing_requests=max(2, round(options.target_ongoing_requests * 2)),
        max_queued_requests=options.max_queued_requests,
        ray_actor_options={"num_cpus": 1},
        logging_config=LoggingConfig(enable_access_log=False),
    )
    return deployment.bind()


def _replica_api(options: ServeOptions) -> Any:
    """Runs on the replica; only here are TensorFlow and FastAPI imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from cluster.store import open_store  # noqa: PLC0415
    from serving.follower import Follower  # noqa: PLC0415
    from serving.interface import build_api  # noqa: PLC0415
    from training.registry import Registry  # noqa: PLC0415

    logging.getLogger("serving").setLevel(logging.INFO)
    follower = Follower(
        Registry(open_store(options.store)),
        poll_interval_s=options.poll_interval_s,
        max_pixels=options.max_pixels,
    )
    return build_api(follower, max_upload_bytes=options.max_upload_bytes, max_posters=options.max_posters)
