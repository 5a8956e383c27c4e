"""What a job gets from this machine: its code as a package, and settings; neither secrets nor data."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cluster.console import say
from cluster.errors import ClusterError
from cluster.job_package import MAX_BYTES, choose_files, find_project, write_zip
from cluster.secret_patterns import find_secret, is_secret_variable, known_values
from cluster.settings import Settings, as_environment, secrets_set
from cluster.store import FolderStore, open_store


def job_environment(settings: Settings, asked: Sequence[str] = ()) -> dict[str, str]:
    """The variables of a job: the settings that were set here, and those that were asked for.

    asked: NAME, whose value is this shell's, or NAME=VALUE. A store that is a folder goes by its full path, as jobs
    start elsewhere. Raises ClusterError for a secret: a job's variables can be read by all who see the cluster.
    """
    environment = as_environment(settings)
    if "ONESHEET_STORE" in environment and isinstance(store := open_store(settings.store), FolderStore):
        environment["ONESHEET_STORE"] = store.url
    for word in asked:
        name, is_given, value = word.partition("=")
        if not is_given:
            if name not in os.environ:
                raise ClusterError(f"--env {name}: it is not set here; give --env {name}=VALUE")
            value = os.environ[name]
        environment[name] = value
    known = known_values(settings)
    for name, value in environment.items():
        if is_secret_variable(name) or find_secret(value.encode(), known):
            raise ClusterError(
                f"{name} is not passed on to a job: it holds a secret, and everyone who sees the cluster's dashboard "
                "could read it; set it on the nodes, or name a folder of secret files there: "
                "--env ONESHEET_SECRETS_DIR=/run/secrets/onesheet"
            )
    return environment


def remarks(settings: Settings, environment: Mapping[str, str], *, is_here: bool) -> Iterator[str]:
    """What the person who submits may not expect. is_here: the cluster is on this machine."""
    for name in secrets_set(settings):
        yield f"{name} stays here; the nodes need their own, in their environment or below ONESHEET_SECRETS_DIR"
    if "ONESHEET_STORE" not in environment:
        yield "ONESHEET_STORE is not set here: the job uses that of the nodes"
    elif not is_here and isinstance(open_store(environment["ONESHEET_STORE"]), FolderStore):
        yield f"the store is the folder {environment['ONESHEET_STORE']}: every node must share it under this path"


@contextlib.contextmanager
def packed(
    command: Sequence[str], settings: Settings, folder: Path | None, *, is_wanted: bool, max_bytes: int = MAX_BYTES
) -> Iterator[Path | None]:
    """A zip file of the working tree within the block; None where the nodes' own code is to run.

    folder: by default the project around the current folder. Says what is in it. Raises ClusterError for secrets in
    the command or in the tree, and for files of this machine that the command names and the job would not find.
    """
    known = known_values(settings)
    if found := find_secret("\n".join(command).encode(), known):
        raise ClusterError(
            f"the command holds {found[0]}, which everyone who sees the cluster's dashboard could read; "
            "set it on the nodes instead"
        )
    root = (folder or find_project(Path.cwd())) if is_wanted else None
    if root is not None and not root.is_dir():
        raise ClusterError(f"the working folder {root} does not exist")
    if root is None:
        _refuse_missing(command, frozenset())
        say("no working tree is sent: the job runs the code that is installed on the nodes")
        yield None
        return
    # The job starts in the root: a path below another folder would lead nowhere.
    named = command if Path.cwd().resolve() == root.resolve() else ()
    package = choose_files(root, named=named, known=known, max_bytes=max_bytes)
    _refuse_missing(command, frozenset(package.files) if named else frozenset())
    with tempfile.TemporaryDirectory(prefix="onesheet-package-") as place:
        target = Path(place) / "tree.zip"
        size = write_zip(package, target)
        for sentence in package.told():
            say(sentence)
        say(f"packed: {size / 1e6:.1f} MB")
        yield target


def _refuse_missing(command: Sequence[str], sent: frozenset[str]) -> None:
    """Raise for a relative path that leads somewhere here, and nowhere in the job."""
    words = [word.partition("=")[2] if word.startswith("--") and "=" in word else word for word in command[1:]]
    for before, word in zip(["", *words], words, strict=False):
        looks_like_one = "/" in word or "." in word or before == "--store"
        if not word or word.startswith(("-", "/")) or "://" in word or not looks_like_one:
            continue
        path = os.path.normpath(word)
        if Path(path).exists() and path not in sent and not any(each.startswith(f"{path}/") for each in sent):
            raise ClusterError(
                f"{word} is on this machine only: the job does not get it; put it into the store, give its full path "
                "on the nodes, or submit from the folder of the project that it lies in"
            )
