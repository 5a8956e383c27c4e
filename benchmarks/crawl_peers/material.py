"""What every contender of a benchmark fetches: the posters, and one catalogue of them in each contender's form."""

from __future__ import annotations

import csv
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from crawler.site.drawing import draw_poster
from crawler.titles import Title

_ROOT = Path(__file__).resolve().parent.parent.parent
# As Kaggle's MovieGenre.csv lists them; --height and the rehearsal's address are onesheet's to apply.
_SUFFIX = "._V1_UX182_CR0,0,182,268_AL_.jpg"
_HOST = "https://images-na.ssl-images-amazon.com"
# Drawing takes 10 ms a poster; more files than this are further copies.
_DRAWN = 500


@dataclass(frozen=True, slots=True)
class Material:
    """A folder of NAME.jpg, the names to crawl, and in words where they come from."""

    folder: Path
    names: list[str]
    origin: str

    def paths(self) -> list[Path]:
        """The posters' files."""
        return [self.folder / f"{name}.jpg" for name in self.names]

    def read_all(self) -> int:
        """Read each poster once, so that the system's file cache is warm; returns their bytes."""
        return sum(len(path.read_bytes()) for path in self.paths())

    def write_catalog(self, path: Path, count: int) -> Path:
        """The first `count` as a MovieGenre.csv."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster"])
            for name in self.names[:count]:
                page = f"http://www.imdb.com/title/{name}"
                poster = f"{_HOST}/images/M/{name}{_SUFFIX}"
                rows.writerow([int(name[2:]), page, f"Film {name} (2001)", 6.1, "Drama", poster])
        return path

    def write_urls(self, path: Path, count: int, site: str) -> Path:
        """The first `count` as URLs of the local site: a CSV with the column url."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["url"])
            rows.writerows([f"{site}/images/M/{name}{_SUFFIX}"] for name in self.names[:count])
        return path


def find(count: int, folder: Path) -> Material:
    """`count` posters: the real ones of ONESHEET_TEST_DATA, again under other names where that is more than there are;
    drawn ones in `folder` without it.
    """
    images = Path(os.environ.get("ONESHEET_TEST_DATA", _ROOT.parent / "shared")) / "posters" / "Images"
    if images.is_dir():
        real = sorted(path.stem for path in images.glob("tt*.jpg"))
        if count <= len(real):
            return Material(images, real[:count], f"{count} real posters")
        folder.mkdir(parents=True)
        names = [f"tt{number:07d}" for number in range(1, count + 1)]
        for name, file in zip(names, itertools.cycle(real), strict=False):
            (folder / f"{name}.jpg").symlink_to(images / f"{file}.jpg")
        return Material(folder, names, f"{count} posters, {len(real)} real ones again and again")
    folder.mkdir(parents=True)
    names = [f"tt{number:07d}" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        if number < _DRAWN:
            data = draw_poster(Title(imdb_id=name, title=f"Film {number}", genres=("Drama", "Crime")))
            (folder / f"{name}.jpg").write_bytes(data)
        else:
            (folder / f"{name}.jpg").write_bytes((folder / f"{names[number % _DRAWN]}.jpg").read_bytes())
    return Material(folder, names, f"{count} drawn posters (no real ones: set ONESHEET_TEST_DATA)")
