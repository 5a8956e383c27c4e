"""The working tree as a job gets it: without what ignore files name, without data, and never with a secret."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from cluster.errors import ClusterError
from cluster.secret_patterns import find_secret, is_secret_file

MAX_BYTES = 50_000_000
# Ray reads the same two.
_IGNORE_FILES = (".gitignore", ".rayignore")
_NEVER = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".tox", ".nox", ".ipynb_checkpoints"})
_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
_DATA = re.compile(
    r"\.(parquet|arrow|feather|orc|tfrecord|h5|hdf5|keras|ckpt|pt|pth|onnx|safetensors|tflite|npy|npz|pkl|pickle|tar|tgz"
    r"|gz|bz2|xz|zst|zip|7z|rar|db|sqlite|sqlite3|mp4|iso)"
)
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
# A site's or a test's few pictures belong to the code; a folder of posters does not.
_MOST_PICTURES = 50
_MOST_FILE_BYTES = 5_000_000
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Package:
    """What a job gets. files: relative, with /, sorted. size_bytes: unpacked. left_out: names by reason."""

    root: Path
    files: tuple[str, ...]
    size_bytes: int
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def told(self) -> Iterator[str]:
        """Sentences about it, for the person who submits."""
        yield f"the working tree {self.root}: {len(self.files):,} files, {self.size_bytes / 1e6:.1f} MB"
        for reason, names in self.left_out.items():
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            yield f"left out as {reason}: {', '.join(sorted(names)[:_SHOWN])}{more}"


def find_project(folder: Path) -> Path | None:
    """The folder of the project around a folder; None where it is part of none."""
    for candidate in (folder, *folder.parents):
        if any((candidate / name).exists() for name in _PROJECT):
            return candidate
    return None


def choose_files(
    root: Path, *, named: Sequence[str] = (), known: Mapping[str, bytes] | None = None, max_bytes: int = MAX_BYTES
) -> Package:
    """Decide what of a folder is sent.

    named: words of the command; a file among them is sent although it is data. known: this shell's secrets by name, to
    refuse a file with one of them in it. Raises ClusterError for a file that looks as if it held a key, and for more
    than max_bytes.
    """
    root = root.resolve()
    wanted = {os.path.normpath(word) for word in named if not word.startswith("-")}
    left_out: dict[str, list[str]] = {}
    chosen: list[str] = []
    for folder, names in _walk(root, left_out):
        prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
        pictures = sum(1 for name in names if Path(name).suffix.lower() in _PICTURES)
        for name in names:
            path = prefix + name
            if reason := _why_not(root, path, path in wanted, pictures):
                left_out.setdefault(reason, []).append(path)
            else:
                chosen.append(path)
    size = sum((root / path).stat().st_size for path in chosen)
    if size > max_bytes:
        raise ClusterError(_too_much(root, chosen, size, max_bytes))
    for path in chosen:
        if found := find_secret(_read(root / path), known or {}):
            raise ClusterError(
                f"{path}, line {found[1]}, holds {found[0]}: not sent, since every user of the cluster could read it; "
                "take it out, or name the file in .rayignore"
            )
    return Package(root, tuple(sorted(chosen)), size, left_out)


def write_zip(package: Package, target: Path) -> int:
    """Pack the files, the same bytes for the same contents, so that Ray uploads them once; returns the packed size."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in package.files:
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            is_executable = (package.root / path).stat().st_mode & stat.S_IXUSR
            entry.external_attr = (0o755 if is_executable else 0o644) << 16
            archive.writestr(entry, _read(package.root / path))
    return target.stat().st_size


def _walk(root: Path, left_out: dict[str, list[str]]) -> Iterator[tuple[Path, list[str]]]:
    """The folders from the top with their files, without what is ignored."""
    specs: dict[Path, GitIgnoreSpec] = {}

    def is_ignored(path: Path, *, is_folder: bool) -> bool:
        for parent in path.parents:  # the nearest file that says anything decides, as in git
            if spec := specs.get(parent):
                said = spec.check_file(path.relative_to(parent).as_posix() + ("/" if is_folder else "")).include
                if said is not None:
                    return said
            if parent == root:
                return False
        return False

    for here, folders, files in os.walk(root):
        folder = Path(here)
        if lines := _ignore_lines(folder):
            specs[folder] = GitIgnoreSpec.from_lines(lines)
        kept = []
        for name in sorted(folders):
            path = folder / name
            if name in _NEVER or (path / "pyvenv.cfg").exists() or is_ignored(path, is_folder=True):
                continue
            if path.is_symlink():
                left_out.setdefault("links to folders", []).append(path.relative_to(root).as_posix())
            elif _is_store(path):
                left_out.setdefault("data", []).append(path.relative_to(root).as_posix() + "/")
            else:
                kept.append(name)
        folders[:] = kept
        kept_files = (name for name in sorted(files) if name not in _NEVER and not name.endswith(".pyc"))
        yield folder, [name for name in kept_files if not is_ignored(folder / name, is_folder=False)]


def _ignore_lines(folder: Path) -> list[str]:
    lines: list[str] = []
    for name in _IGNORE_FILES:
        if (folder / name).is_file():
            lines += _read(folder / name).decode("utf-8", "replace").splitlines()
    return lines


def _is_store(folder: Path) -> bool:
    """Whether a folder is object storage of ours: what a crawl, a dataset or a model leaves lies in it."""
    marks = ("crawls/*/catalog.json", "datasets/*/card.json", "models/*/card.json", "models/production.json")
    return any(next(folder.glob(mark), None) for mark in marks)


def _why_not(root: Path, path: str, is_named: bool, pictures: int) -> str:
    """Why a file is left out; empty for one that is sent."""
    file = root / path
    if file.is_symlink() and not file.resolve().is_relative_to(root):
        return "links out of the tree"
    if not file.is_file():
        return "no files"
    if is_secret_file(path):
        return "secrets"
    if is_named:
        return ""
    suffix = file.suffix.lower()
    is_data = _DATA.fullmatch(suffix) or (suffix in _PICTURES and pictures > _MOST_PICTURES)
    return "data" if is_data or file.stat().st_size > _MOST_FILE_BYTES else ""


def _too_much(root: Path, chosen: list[str], size: int, max_bytes: int) -> str:
    biggest = sorted(chosen, key=lambda path: (root / path).stat().st_size, reverse=True)[:3]
    names = ", ".join(f"{path} ({(root / path).stat().st_size / 1e6:.1f} MB)" for path in biggest)
    return (
        f"{root} has {size / 1e6:.0f} MB to send, more than {max_bytes / 1e6:.0f}; the largest: {names}; name what a "
        "job does not need in .rayignore, or run the code that is installed on the nodes: --no-working-dir"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror or error}; name it in .rayignore") from error
