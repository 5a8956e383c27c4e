"""Real S3 servers on loopback ports, for tests and for a rehearsal by hand: `python tests/s3_servers.py swift`."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cluster.processes import Family, sigterm_as_exit

_START_TIMEOUT_S = 60
_SWIFT_PROGRAMS = (
    "swift-proxy-server",
    "swift-account-server",
    "swift-container-server",
    "swift-object-server",
    "memcached",
)
# Debian's Swift belongs to Debian's Python; a virtual environment's variables would lead it astray.
_CLEAN_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

_SWIFT_CONF = """
[swift-hash]
swift_hash_path_prefix = onesheet
swift_hash_path_suffix = onesheet
[storage-policy:0]
name = one
default = yes
"""

# /dev/log is missing in containers: with -v the log goes to standard output too, and log_address to nowhere.
_DEFAULT = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
log_level = WARNING
log_address = {folder}/no-syslog
fallocate_reserve = 0
disable_fallocate = true
"""

_STORAGE_SERVER = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

_PROXY_SERVER = """
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_onesheet_tester = rehearsal .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

# What swift-ring-builder does (create, add, rebalance), for the three rings in one process instead of nine.
_BUILD_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder, *servers = sys.argv[1:]
for server in servers:
    kind, port = server.split(":")
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1,
                  "replication_ip": "127.0.0.1", "replication_port": int(port), "meta": ""})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{kind}.ring.gz")
"""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server: where it is, who may enter, and what it can."""

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    checks_signatures: bool
    has_conditional_put: bool

    def environment(self) -> dict[str, str]:
        """The variables with which every AWS client finds it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def create_bucket(self, name: str) -> str:
        """Create a bucket and return its URL, s3://name."""
        import boto3
        from botocore.config import Config

        boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        ).create_bucket(Bucket=name)
        return f"s3://{name}"


def why_no_swift() -> str | None:
    """What this machine lacks for Swift, or None."""
    missing = [name for name in _SWIFT_PROGRAMS if shutil.which(name, path=_CLEAN_ENVIRONMENT["PATH"]) is None]
    if not missing:
        return None
    return f"no {', '.join(missing)}: apt install swift-proxy swift-account swift-container swift-object memcached"


@contextlib.contextmanager
def swift() -> Iterator[S3Server]:
    """OpenStack Swift with its S3 interface: one device, one replica, signatures checked, no conditional puts."""
    if reason := why_no_swift():
        raise RuntimeError(reason)
    kinds = ("account", "container", "object", "proxy")
    ports = dict(zip((*kinds, "memcached"), free_ports(5), strict=True))
    with _folder() as folder, Family() as family:
        (folder / "devices/d1").mkdir(parents=True)
        (folder / "swift.conf").write_text(_SWIFT_CONF)
        rings = [f"{kind}:{ports[kind]}" for kind in ("account", "container", "object")]
        subprocess.run(["/usr/bin/python3", "-c", _BUILD_RINGS, folder, *rings], env=_CLEAN_ENVIRONMENT, check=True)
        log = folder / "log"
        options = ["-l", "127.0.0.1", "-p", str(ports["memcached"]), "-U", "0", "-m", "16", "-u", getpass.getuser()]
        family.start(["/usr/bin/memcached", *options], environment=_CLEAN_ENVIRONMENT, log=log)
        for kind in kinds:
            sections = _PROXY_SERVER if kind == "proxy" else _STORAGE_SERVER
            conf = folder / f"{kind}-server.conf"
            conf.write_text(
                (_DEFAULT + sections).format(
                    kind=kind, port=ports[kind], folder=folder, user=getpass.getuser(), memcached=ports["memcached"]
                )
            )
            family.start([f"/usr/bin/swift-{kind}-server", conf, "-v"], environment=_CLEAN_ENVIRONMENT, log=log)
        _wait_for(list(ports.values()), family, log)
        yield S3Server(
            "swift",
            f"http://127.0.0.1:{ports['proxy']}",
            "onesheet:tester",
            "rehearsal",
            "us-east-1",
            checks_signatures=True,
            has_conditional_put=False,
        )


@contextlib.contextmanager
def moto() -> Iterator[S3Server]:
    """moto's server: everything in memory, conditional puts, no look at a signature."""
    (port,) = free_ports(1)
    with _folder() as folder, Family() as family:
        log = folder / "log"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        family.start(command, environment=_CLEAN_ENVIRONMENT, log=log)
        _wait_for([port], family, log)
        yield S3Server(
            "moto",
            f"http://127.0.0.1:{port}",
            "moto",
            "moto",
            "us-east-1",
            checks_signatures=False,
            has_conditional_put=True,
        )


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, each different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="onesheet-s3-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _wait_for(ports: list[int], family: Family, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    for port in ports:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if family.has_failed() or time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on port {port}; the server's log:\n{log.read_text()[-4000:]}")
            time.sleep(0.05)


SERVERS: dict[str, Callable[[], AbstractContextManager[S3Server]]] = {"swift": swift, "moto": moto}


def main() -> None:
    """Start the named server with a bucket `posters`, say how to reach it, and wait for Ctrl-C."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in SERVERS:
        sys.exit(f"usage: python {sys.argv[0]} {' | '.join(SERVERS)}")
    with sigterm_as_exit(), SERVERS[name]() as server:
        url = server.create_bucket("posters")
        for variable, value in {**server.environment(), "ONESHEET_STORE": url}.items():
            print(f"export {variable}={value}", flush=True)  # noqa: T201
        print("# Ctrl-C ends the server and forgets its objects.", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
