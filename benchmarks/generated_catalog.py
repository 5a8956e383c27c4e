"""Writes a catalogue of any form and size, the same bytes for the same options.

    python -m benchmarks.generated_catalog --form imdb-basics --rows 1000000 out.tsv.gz
    python -m benchmarks.generated_catalog --rows 1000000 --time out.tsv.gz

A name that ends in .gz is gzipped. The rows have the kinds of IMDb's own list in their shares (four in five are
episodes), and one id in a thousand twice. With --time it then reads the file in a fresh process and prints
rows a second and the peak memory, against those of an empty catalogue.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from crawler.catalogs import Form, Reading, open_catalog
from crawler.titles import Kind, Title

_GENRES = (
    *("Action", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family"),
    *("Fantasy", "History", "Horror", "Music", "Mystery", "News", "Romance", "Sci-Fi", "Sport", "Thriller", "War"),
)
# Shares of title.basics, in thousandths.
_TITLE_TYPES = {
    "tvEpisode": 772,
    "short": 92,
    "movie": 61,
    "video": 26,
    "tvSeries": 24,
    "tvMovie": 13,
    "tvMiniSeries": 5,
    "tvSpecial": 4,
    "videoGame": 3,
}
_WORDS = ("Night", "River", "Last", "House", "Glass", "Winter", "Road", "Moon", "Stone", "Salt", "Letter", "Garden")
_OTHER_WORDS = ("Été", "Señor", "Café", "七人", "Straße")  # in one name of twelve, as in title.basics


def rows(count: int, seed: int = 0) -> Iterator[tuple[str, Title, bool]]:
    """(titleType, title, is adult) of each row."""
    draw = random.Random(seed)
    types = draw.choices(list(_TITLE_TYPES), list(_TITLE_TYPES.values()), k=10_007)
    for number in range(1, count + 1):
        id_ = number - 1 if number % 1000 == 0 else number
        genres = tuple(sorted(draw.sample(_GENRES, draw.randint(1, 3)))) if number % 20 else ()
        words = draw.choices(_WORDS, k=3)
        if number % 12 == 0:
            words[1] = draw.choice(_OTHER_WORDS)
        name = " ".join(words) + (' "II"' if number % 500 == 0 else "")
        url = f"https://m.media-amazon.com/images/M/generated{id_}@._V1_UX182_CR0,0,182,268_AL_.jpg"
        title = Title(f"tt{id_:07}", name, draw.randint(1900, 2025), genres, draw.randint(10, 99) / 10, url)
        yield types[number % len(types)], title, number % 70 == 0


def write(path: Path, form: Form, count: int, seed: int = 0) -> None:
    """Write a catalogue."""
    if form is Form.PARQUET:
        _write_parquet(path, count, seed)
        return
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(path.open("wb"))
        # No time and no name in the header: the same bytes every time.
        zipped = gzip.GzipFile("", "wb", 6, plain, mtime=0) if path.suffix == ".gz" else None
        file: Any = stack.enter_context(zipped) if zipped else plain
        lines = _lines(form, count, seed)
        while some := list(itertools.islice(lines, 10_000)):
            file.write("".join(some).encode())


def _lines(form: Form, count: int, seed: int) -> Iterator[str]:
    if form is Form.IMDB_BASICS:
        yield "tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n"
        for type_, title, adult in rows(count, seed):
            cells = (title.imdb_id, type_, title.title, title.title, str(int(adult)), title.year, r"\N", 90)
            yield "\t".join(map(str, cells)) + "\t" + (",".join(title.genres) or r"\N") + "\n"
    elif form is Form.MOVIE_GENRE:
        yield "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
        for _, title, _ in rows(count, seed):
            number = int(title.imdb_id[2:])
            name = '"' + (title.title or "").replace('"', '""') + f' ({title.year})"'
            link = f"http://www.imdb.com/title/tt{number}"
            yield f'{number},{link},{name},{title.rating},{"|".join(title.genres)},"{title.poster_url}"\n'
    elif form is Form.ONE_HOT:
        yield f"Id,Genre,{','.join(_GENRES)}\n"
        for _, title, _ in rows(count, seed):
            marks = ",".join(str(int(genre in title.genres)) for genre in _GENRES)
            yield f'{title.imdb_id},"{list(title.genres)}",{marks}\n'
    else:
        yield "# ids of generated titles\n"
        for _, title, _ in rows(count, seed):
            yield f"{title.imdb_id}\n"


def _write_parquet(path: Path, count: int, seed: int) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    text = pa.string()
    fields = {"imdb_id": text, "title": text, "year": pa.int16(), "genres": pa.list_(text), "rating": pa.float32()}
    schema = pa.schema([*fields.items(), ("poster_url", text), ("page_url", text), ("kind", text)])
    titles = (
        {name: getattr(title, name) for name in schema.names} | {"kind": str(Kind.FILM)}
        for _, title, _ in rows(count, seed)
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while some := list(itertools.islice(titles, 100_000)):
            file.write_table(pa.Table.from_pylist(some, schema=schema))


def read(path: str) -> dict[str, Any]:
    """Read a catalogue once; meant for a process of its own, whose peak memory it tells."""
    import resource  # noqa: PLC0415
    import time  # noqa: PLC0415

    reading, kept = Reading(), 0
    began, busy = time.perf_counter(), time.process_time()
    with open_catalog(path) as catalog:
        for _ in catalog.rows(reading):
            kept += 1
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - busy
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": kept + sum(reading.left_out.values()),
        "kept": kept,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "peak_mib": peak_kib / 1024,
    }


def _measured(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.generated_catalog", "--read", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--form", type=Form, choices=list(Form), default=Form.IMDB_BASICS)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", action="store_true", help="read it, too, and print rows a second and memory")
    parser.add_argument("--read", action="store_true", help="only read PATH, and print JSON")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(str(options.path))))
        return
    write(options.path, options.form, options.rows, options.seed)
    if options.time:
        with tempfile.TemporaryDirectory() as folder:
            small = Path(folder) / f"small{options.path.suffix}"
            write(small, options.form, 1000, options.seed)
            base, found = _measured(small), _measured(options.path)
        table = Table(
            "rows",
            "kept",
            "MB",
            "seconds",
            "CPU s",
            "rows/s",
            "rows/CPU s",
            "peak MiB",
            "of 1,000 rows",
            title=f"{options.form}",
        )
        table.add_row(
            f"{found['rows']:,}",
            f"{found['kept']:,}",
            f"{options.path.stat().st_size / 1e6:.0f}",
            f"{found['seconds']:.1f}",
            f"{found['cpu_s']:.1f}",
            f"{found['rows'] / found['seconds']:,.0f}",
            f"{found['rows'] / found['cpu_s']:,.0f}",
            f"{found['peak_mib']:.0f}",
            f"{base['peak_mib']:.0f}",
        )
        Console(width=100).print(table)


if __name__ == "__main__":
    main()
