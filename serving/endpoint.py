"""The endpoint on this machine: checked, started, and gone again without a trace."""

from __future__ import annotations

import contextlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.cores import available_cores
from cluster.errors import ServingError
from cluster.nodes import connect, environment, starts_ray
from cluster.ports import try_port
from cluster.settings import Settings
from cluster.store import open_store
from serving import haproxy, proxy_rules
from serving.app import APP_NAME, CPUS_PER_REPLICA, ServeOptions, build_app
from serving.haproxy import Proxy
from serving.keys import Keys
from training.registry import Registry

log = logging.getLogger(__name__)
# A replica loads a model before it answers, and perhaps TensorFlow.
_HEALTH_TIMEOUT_S = 180
# Ray has its workers give way to all else on a machine, which is for work that nobody waits for.
_AS_OTHERS = {"RAY_worker_niceness": "0"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answers, and the version that it serves."""

    url: str
    version: str


def options_for(
    settings: Settings,
    *,
    min_replicas: int,
    max_replicas: int,
    cpus_per_replica: int | None = None,
    fetch_urls: bool = False,
    show_posters: bool = False,
) -> ServeOptions:
    """The application's options with the settings' store and limits. Raises ServingError.

    cpus_per_replica: None for two, or the one that there is. Where Ray is started here, there are no more replicas than
    this machine has cores for.
    """
    if settings.api_keys:
        # Each replica reads them for itself; here only to say at once what is wrong with them.
        Keys.read(settings.api_keys.get_secret_value())
    options = ServeOptions(
        # A folder's absolute path: replicas do not run where we do.
        store=open_store(settings.store).url,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        cpus_per_replica=cpus_per_replica or min(CPUS_PER_REPLICA, available_cores()),
        max_upload_bytes=settings.max_poster_bytes,
        max_pixels=settings.max_poster_pixels,
        fetch_urls=fetch_urls,
        show_posters=show_posters,
    )
    return _within_this_machine(options) if starts_ray(settings) else options


def _within_this_machine(options: ServeOptions) -> ServeOptions:
    cores = available_cores()
    room = cores // options.cpus_per_replica
    if room < (least := max(1, options.min_replicas)):
        raise ServingError(
            f"{least} replica(s) of {options.cpus_per_replica} CPUs do not fit on this machine, which has {cores}: "
            "ask for fewer --min-replicas or --cpus-per-replica"
        )
    return options.model_copy(update={"max_replicas": min(options.max_replicas, room)})


@contextlib.contextmanager
def running(
    options: ServeOptions, settings: Settings, *, host: str, port: int, proxy: Proxy = "haproxy"
) -> Iterator[Endpoint]:
    """The application, answering on `host:port` within the block; afterwards all that it started is gone.

    proxy: in front of the replicas of a Ray that is started here; one that runs has chosen its own. Where there is no
    HAProxy, Ray's takes its place.
    Raises ServingError, StoreError or RegistryError, before anything is started where that is possible.
    """
    check_port(host, port)
    registry = Registry(open_store(options.store))
    registry.card(registry.production_or_raise().version)
    is_ours = proxy == "haproxy" and starts_ray(settings)
    in_front = _haproxy(host, options) if is_ours else contextlib.nullcontext(host)
    with environment(_AS_OTHERS), in_front as serve_host, connect(settings):
        from ray import serve  # noqa: PLC0415

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        if serve.status().proxies:
            raise ServingError(
                "Ray Serve runs already on this cluster, with HTTP options of its own; "
                "deploy serving.app:build_app there with `serve deploy`, or end it with `serve shutdown`"
            )
        try:
            serve.start(http_options={"host": serve_host, "port": port})
            try:
                serve.run(build_app(options), name=APP_NAME, route_prefix="/")
            except RuntimeError as error:
                raise ServingError(f"the application did not start: {error}") from error
            url = address(host, port)
            yield Endpoint(url, served_version(url))
        finally:
            # Serve's own end takes its proxies first, and with them what the replicas still have in hand.
            with contextlib.suppress(Exception):
                serve.delete(APP_NAME)
            serve.shutdown()


@contextlib.contextmanager
def _haproxy(host: str, options: ServeOptions) -> Iterator[str]:
    """Have the Ray that is started within the block use HAProxy; the host that Serve is to be told."""
    if reason := haproxy.why_not():
        log.warning("Ray's own proxy, which is slower, is in front: %s", reason)
        yield host
        return
    rules = proxy_rules.rules(most_in_overload=options.max_overload_requests)
    with haproxy.environment(host, rules, proxy_rules.SECTION) as variables, environment(variables):
        yield "127.0.0.1"


def check_port(host: str, port: int) -> None:
    """Raise ServingError unless `host:port` can be listened on now."""
    try:
        try_port(host, port)
    except OSError as error:
        raise ServingError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another with --port or --host"
        ) from error


def address(host: str, port: int) -> str:
    """The URL at which a person on this machine reaches a server that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared with, not bound to
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def served_version(url: str) -> str:
    """The version that the endpoint serves. Raises ServingError with its own words if it has no model."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=_HEALTH_TIMEOUT_S) as answer:  # noqa: S310
            return str(json.load(answer)["version"])
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError, KeyError):
            raise ServingError(str(json.load(error)["detail"])) from error
        raise ServingError(f"{url}/readyz answers {error.code}") from error
    except OSError as error:
        raise ServingError(f"{url}/readyz does not answer: {error}") from error
