"""An nginx of our own on a free loopback port: real or drawn posters under IMDb's kind of URL."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.processes import Family

# A server program lies outside an ordinary user's PATH.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
_START_TIMEOUT_S = 20

# As an image host would serve them: the size suffix says how the picture is shown, not which one it is.
_CONF = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ image/jpeg jpg; }}
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {posters};
        location = /robots.txt {{ return 200 "User-agent: *\\nAllow: /\\n"; }}
        location ~ ^/images/M/(?<name>[^/]+?)\\._V1.*$ {{ try_files /$name.jpg =404; }}
        location / {{ return 404; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx."""

    url: str
    process: psutil.Process

    def pids(self) -> set[int]:
        """Its master and its worker."""
        return {self.process.pid, *(child.pid for child in self.process.children(recursive=True))}

    def cpu_s(self) -> float:
        """The CPU seconds that it has spent so far."""
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def why_no_nginx() -> str | None:
    """What this machine lacks, or None."""
    if shutil.which("nginx", path=_PATH):
        return None
    return "no nginx: install it (apt-get install nginx-light) and run this again; its service need not be started"


def version() -> str:
    """nginx's version."""
    said = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=True).stderr
    match = re.search(r"nginx/(\S+)", said)
    return match[1] if match else said.strip()


@contextlib.contextmanager
def serve(posters: Path, folder: Path) -> Iterator[Nginx]:
    """Serve `posters`/NAME.jpg as /images/M/NAME._V1_anything.jpg until the block ends; its files lie in `folder`."""
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Started by root, nginx would run its worker as nobody, who cannot read a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(_CONF.format(user=user, folder=folder, port=port, posters=posters.resolve()))
    with Family() as family:
        log = folder / "log"
        command: list[str | Path] = [_program(), "-p", folder, "-e", folder / "error.log", "-c", conf]
        process = family.start(command, environment=dict(os.environ), log=log)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/robots.txt", timeout=1):
                break
            if family.has_failed() or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start; its log:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Nginx(url, psutil.Process(process.pid))


def _program() -> str:
    found = shutil.which("nginx", path=_PATH)
    if found is None:
        raise FileNotFoundError(why_no_nginx())
    return found
