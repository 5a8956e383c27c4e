"""Ray nodes: join a running cluster, start Ray in this process, or start a head node beside it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.job_server import job_client
from cluster.ports import free_ports, try_port
from cluster.processes import Family, sigterm_as_exit
from cluster.settings import Settings

_LOOPBACK = "127.0.0.1"
_OBJECT_STORE_BYTES = 512 * 2**20
_CONNECT_TIMEOUT_S = 5
_START_TIMEOUT_S = 90
# A raylet asked to end waits about ten seconds for a job that runs on; nothing of it is worth that here.
_GRACE_S = 3
_LEAST_AT_ONCE = 8
# Ray's address is a gRPC port: to this it answers with a SETTINGS frame of HTTP/2.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_SETTINGS = b"\x04"


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A head node of our own on this machine."""

    address: str
    dashboard_url: str
    """Also the job server's address."""
    logs: Path

    def environment(self) -> dict[str, str]:
        """The variables with which `onesheet`, `ray job` and drivers find it."""
        found = {"ONESHEET_RAY_ADDRESS": self.address, "RAY_API_SERVER_ADDRESS": self.dashboard_url}
        # Unlike ours, Ray's own job commands send their token only if they are told to.
        return {**found, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}


@contextlib.contextmanager
def connect(
    settings: Settings, *, log_to_driver: bool = False, num_cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Be a Ray driver within the block: of the cluster at `settings.ray_address`, or of one started in here.

    Without that setting, RAY_ADDRESS counts, which Ray sets inside a job. `local` starts Ray here in any case.
    Where this process is connected already, it stays so, before and after. SIGTERM ends the block as Ctrl-C does.
    dashboard: of a Ray that is started here. Ray Tune needs it: Ray Train frees what an ended trial held only where it
    can ask the dashboard whether the trial is alive.
    Raises ClusterError within seconds if nothing answers.
    """
    # Ray and its workers read these from this process; the latter also find our commands on the PATH.
    os.environ.update(node_environment(os.environ))
    import ray  # noqa: PLC0415

    if ray.is_initialized():
        yield
        return
    address = _address(settings)
    options: dict[str, object] = {"log_to_driver": log_to_driver, "logging_level": logging.WARNING}
    if address == "local":
        options |= {"include_dashboard": dashboard, "object_store_memory": _OBJECT_STORE_BYTES, "num_cpus": num_cpus}
    elif address != "auto":
        _knock(address)
    # That Ray guards itself by a token, where one is there, is as it should be.
    notices = logging.getLogger("ray._private.authentication.authentication_token_setup")
    notices.addFilter(_is_no_praise)
    try:
        with _known_to_its_processes() if address == "local" else contextlib.nullcontext():
            ray.init(address, **options)
    except Exception as error:  # a Ray that does not start in time raises just that
        raise ClusterError(f"no Ray cluster to join at {address!r}: {_first_line(error)}") from error
    try:
        with sigterm_as_exit():
            yield
    finally:
        ray.shutdown()


def beside_driver() -> Any:
    """The scheduling strategy that keeps an actor on this node: of a driver, so that no other node's death ends it.

    Ray places what asks for no CPU on any node.
    """
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@contextlib.contextmanager
def local_cluster(
    *, num_cpus: int | None = None, dashboard_port: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[LocalCluster]:
    """A real head node with a job server within the block; the latter is reachable from this machine only.

    num_cpus: None offers all. dashboard_port: 0 takes a free one. environment: variables for every process of the
    node, over our own. At the end, also by Ctrl-C or SIGTERM, every process that the cluster started is ended and
    its logs are removed; other Ray clusters on the machine stay. Raises ClusterError if it does not start.
    """
    from ray.util import get_node_ip_address  # noqa: PLC0415

    if dashboard_port:
        _require_free(dashboard_port)
    # Ray replaces a loopback address by this one in any case; its gRPC ports listen on every interface.
    node_ip = get_node_ip_address()
    gcs_port, client_port, agent_port, free_dashboard_port = free_ports(4)
    # Ray puts sockets below this folder, whose paths may have 107 bytes: a long TMPDIR would be too long.
    folder = Path(tempfile.mkdtemp(prefix="onesheet-ray-", dir="/tmp"))
    cluster = LocalCluster(
        address=f"{node_ip}:{gcs_port}",
        dashboard_url=f"http://{_LOOPBACK}:{dashboard_port or free_dashboard_port}",
        logs=folder / "session_latest" / "logs",
    )
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--node-ip-address={node_ip}", f"--port={gcs_port}", f"--ray-client-server-port={client_port}"),
        *(f"--dashboard-host={_LOOPBACK}", f"--dashboard-port={dashboard_port or free_dashboard_port}"),
        f"--dashboard-agent-listen-port={agent_port}",
        *(f"--temp-dir={folder}", f"--object-store-memory={_OBJECT_STORE_BYTES}"),
        *([] if num_cpus is None else [f"--num-cpus={num_cpus}"]),
    ]
    try:
        with sigterm_as_exit(), Family(grace_s=_GRACE_S) as family:
            log = folder / "start.log"
            base = {**os.environ, **token_mode(), **(environment or {})}
            family.start(command, environment=node_environment(base), log=log)
            _wait_until_jobs_are_taken(cluster, family, log)
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def node_environment(base: Mapping[str, str]) -> dict[str, str]:
    """What a node's processes need: `onesheet`, `scrapy` and `ray` of this installation first on the PATH, no
    usage statistics, and no address of another cluster."""
    here = str(Path(sys.executable).parent)
    path = [part for part in base.get("PATH", os.defpath).split(os.pathsep) if part != here]
    # Ray starts as many processes at a time as there are CPUs, and complains on standard output of four times that:
    # the eight of a Ray Train run, of which one needs a CPU, are too many for a laptop then.
    at_once = {"RAY_worker_maximum_startup_concurrency": str(max(_LEAST_AT_ONCE, os.cpu_count() or 1))}
    return {**at_once, **base, "PATH": os.pathsep.join([here, *path]), "RAY_USAGE_STATS_ENABLED": "0"}


def token_mode() -> dict[str, str]:
    """Ray's ports listen on every interface, so that a node without a token runs code for the whole network.

    ray.init makes a token by itself, `ray start` only uses one that is there: hence the same cluster every time.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    make = [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"]
    made = subprocess.run(make, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    return {"RAY_AUTH_MODE": "token"} if made.returncode == 0 else {}  # Ray before 2.52 has no tokens


def _require_free(port: int) -> None:
    try:
        try_port(_LOOPBACK, port)
    except OSError as error:
        raise ClusterError(f"the dashboard's port {port} cannot be used: {error.strerror}") from error


def _knock(address: str) -> None:
    """Ray itself would try for a minute."""
    scheme, _, rest = address.rpartition("://")
    host, _, port = rest.rpartition(":")
    if scheme not in ("", "ray") or not host or not port.isdigit():
        raise ClusterError(
            f"{address!r} is not the address of a Ray cluster (host:port, ray://host:port, auto or local); "
            "a job server's http:// address belongs to: onesheet submit --address"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S) as knock:
            if scheme == "" and os.environ.get("RAY_USE_TLS", "0") == "0":
                knock.sendall(_HTTP2_HELLO)
                if knock.recv(9)[3:4] != _HTTP2_SETTINGS:
                    raise ClusterError(f"what answers at {address!r} is not a Ray cluster; its port is usually 6379")
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address!r} ({error}); correct ONESHEET_RAY_ADDRESS, "
            "or unset it (and RAY_ADDRESS) to start Ray locally"
        ) from error


def _wait_until_jobs_are_taken(cluster: LocalCluster, family: Family, log: Path) -> None:
    from ray.exceptions import RayError  # noqa: PLC0415

    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        # Ray's own client, since it knows the token that Ray asks for where ~/.ray/auth_token exists.
        with contextlib.suppress(OSError, RuntimeError, RayError):
            job_client(cluster.dashboard_url).list_jobs()
            # The dashboard is up before the raylet is.
            if "Ray runtime started" in log.read_text(errors="replace"):
                return
        if family.has_failed() or time.monotonic() > deadline:
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise ClusterError(f"Ray did not start; its last words: {' '.join(said[-1:])}")
        time.sleep(0.1)


def starts_ray(settings: Settings) -> bool:
    """Whether `connect` would start Ray in this process, and not join one that runs."""
    import ray  # noqa: PLC0415

    return not ray.is_initialized() and _address(settings) == "local"


def _address(settings: Settings) -> str:
    return settings.ray_address or os.environ.get("RAY_ADDRESS") or "local"


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables in our environment within the block, and in that of what is started there; then as before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _known_to_its_processes() -> Iterator[None]:
    """Give the Ray that is started within the block a port of our choice, so that its processes are born with its
    address.

    Ray Train's cleaner, which frees what a stopped trial held, looks for "the" Ray of the machine, and gives up for
    good where it sees two: the next trial waits for ever then.
    """
    from ray.util import get_node_ip_address  # noqa: PLC0415

    (port,) = free_ports(1)
    own = {"RAY_GCS_SERVER_PORT": f"{port}", "RAY_ADDRESS": f"{get_node_ip_address()}:{port}"}
    with environment(own):
        yield


def _is_no_praise(record: logging.LogRecord) -> bool:
    return "Token authentication is enabled" not in record.getMessage()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
