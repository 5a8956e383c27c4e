"""The contenders: each a command that fetches the first N posters into a folder."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crawl_peers.material import Material

_HERE = Path(__file__).resolve().parent
_REQUIREMENTS = _HERE / "img2dataset.txt"
# (processes, threads) to choose img2dataset's fastest from.
IMG2DATASET_SETTINGS = ((1, 16), (1, 64), (1, 256), (2, 16), (2, 64))


@dataclass(frozen=True, slots=True)
class Site:
    """Where the posters are and what they are; `folder` is for the contenders' lists."""

    url: str
    material: Material
    folder: Path

    def catalog(self, count: int) -> Path:
        """A MovieGenre.csv of the first `count` posters."""
        return self.material.write_catalog(self.folder / f"posters-{count}.csv", count)

    def urls(self, count: int) -> Path:
        """A CSV of the first `count` posters' URLs."""
        return self.material.write_urls(self.folder / f"urls-{count}.csv", count, self.url)


@dataclass(frozen=True, slots=True)
class Onesheet:
    """`onesheet crawl` with everything that it does: verified, sha256, perceptual hash, ledger.

    before: the beginning of the command line, such as taskset with a core.
    """

    name: str = "onesheet"
    options: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    folder: Path | None = None

    def command(self, site: Site, count: int, store: Path) -> list[str | Path]:
        """The command line."""
        crawl = (_beside_python("onesheet"), "crawl", site.catalog(count), "--store", store)
        return [*self.before, *crawl, *self.options, "--json"]

    def environment(self, site: Site) -> dict[str, str]:
        """Every host's URLs lead to the local site."""
        return {**_environment(), "ONESHEET_REHEARSAL": site.url}


@dataclass(frozen=True, slots=True)
class BareFetch:
    """A bare aiohttp loop with our decoders: no crawl could verify a poster with aiohttp for less."""

    name: str = "bare aiohttp loop, decoded and hashed"
    folder: Path | None = None

    def command(self, site: Site, count: int, store: Path) -> list[str | Path]:
        """The command line."""
        return [sys.executable, "-m", "benchmarks.crawl_peers.bare_fetch", site.urls(count), store]

    def environment(self, site: Site) -> dict[str, str]:
        """Nothing special."""
        return _environment()


@dataclass(frozen=True, slots=True)
class ImagesPipeline:
    """A minimal Scrapy project with Scrapy's own ImagesPipeline; its spider `start` or `page` makes the items."""

    spider: str
    folder: Path | None = _HERE / "images_pipeline"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        source = "start()" if self.spider == "start" else "a page"
        object.__setattr__(self, "name", f"Scrapy ImagesPipeline, items from {source}")

    def command(self, site: Site, count: int, store: Path) -> list[str | Path]:
        """The command line."""
        scrapy = _beside_python("scrapy")
        return [scrapy, "crawl", self.spider, "-a", f"urls={site.urls(count)}", "-s", f"IMAGES_STORE={store}"]

    def environment(self, site: Site) -> dict[str, str]:
        """Scrapy needs nothing special."""
        return _environment()


@dataclass(frozen=True, slots=True)
class Img2dataset:
    """img2dataset in its own environment: without any decoding, or with its default resize to 256 px."""

    program: Path
    resizes: bool
    processes: int = 1
    threads: int = 64
    folder: Path | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        kind = "default resize" if self.resizes else "files, no resize, sha256"
        object.__setattr__(self, "name", f"img2dataset, {kind}")

    def command(self, site: Site, count: int, store: Path) -> list[str | Path]:
        """The command line; shards are cut so that every process has one."""
        options = [
            # IMDb's URLs have commas, at which its plain list (txt) fails.
            "--input_format=csv",
            "--output_format=files",
            "--compute_hash=sha256",
            f"--processes_count={self.processes}",
            f"--thread_count={self.threads}",
            f"--number_sample_per_shard={max(2, math.ceil(count / self.processes))}",
        ]
        if not self.resizes:
            options += ["--resize_mode=no", "--disable_all_reencoding=True", "--extract_exif=False"]
        return [self.program, f"--url_list={site.urls(count)}", f"--output_folder={store}", *options]

    def environment(self, site: Site) -> dict[str, str]:
        """Albumentations asks the network for a newer version of itself at each start unless told not to."""
        return {**_environment(), "NO_ALBUMENTATIONS_UPDATE": "1"}


Contender = Onesheet | BareFetch | ImagesPipeline | Img2dataset


def img2dataset_program(peers: Path) -> Path:
    """img2dataset's program, in an environment of its own below `peers`."""
    return peers / "img2dataset" / "bin" / "img2dataset"


def install_img2dataset(peers: Path) -> None:
    """Make that environment, unless it is there."""
    home = peers / "img2dataset"
    done = home / "requirements.txt"
    if not done.is_file() or done.read_bytes() != _REQUIREMENTS.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(_REQUIREMENTS)], check=True)
        shutil.copyfile(_REQUIREMENTS, done)


def stored(store: Path) -> int:
    """The images below a folder; every contender ends their names with .jpg."""
    return sum(1 for path in store.rglob("*.jpg") if path.stat().st_size > 0)


def _beside_python(program: str) -> Path:
    return Path(sys.executable).with_name(program)


def _environment() -> dict[str, str]:
    """Ours, without what would change onesheet's own defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ONESHEET_", "SCRAPY_"))}
