"""Where a run is followed besides the store: TensorBoard always, MLflow or Weights & Biases where a setting asks."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from cluster.errors import TrainingError
from cluster.store import Store

_PROJECT = "onesheet"


class Tracker(ABC):
    """Gets a run's parameters once, its metrics epoch by epoch, and its files at the end."""

    @abstractmethod
    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """The metrics of a finished epoch."""

    @abstractmethod
    def end(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        """The final metrics on the test split, and files worth keeping."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Nothing more comes."""


class TensorBoard(Tracker):
    """Event files under `runs/<run>/tensorboard/`, uploaded at each epoch."""

    def __init__(self, store: Store, run: str) -> None:
        from tensorboardX import SummaryWriter  # noqa: PLC0415

        self._store, self._run = store, run
        self._folder = Path(tempfile.mkdtemp(prefix="onesheet-tensorboard-"))
        self._writer = SummaryWriter(str(self._folder))

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        self._write(number, metrics)

    def end(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        self._write(0, {f"test/{name}": value for name, value in metrics.items()})

    def close(self, *, failed: bool) -> None:
        # A flush does not wait for the writer's thread; closing does.
        self._writer.close()
        self._upload()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, number: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()
        self._upload()

    def _upload(self) -> None:
        for path in self._folder.iterdir():
            self._store.put(f"runs/{self._run}/tensorboard/{path.name}", path.read_bytes())


class Mlflow(Tracker):
    """A run of the experiment `onesheet` on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: str, parameters: dict[str, Any]) -> None:
        mlflow = _imported("mlflow")
        mlflow.set_experiment(_PROJECT)
        self._mlflow = mlflow
        self._run = mlflow.start_run(run_name=run)
        mlflow.log_params(parameters)

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        self._mlflow.log_metrics(metrics, step=number)

    def end(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        self._mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items()})
        for path in files:
            self._mlflow.log_artifact(str(path))

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


class WeightsAndBiases(Tracker):
    """A run of the project `onesheet`; WANDB_API_KEY and WANDB_MODE are Weights & Biases' own."""

    def __init__(self, run: str, parameters: dict[str, Any]) -> None:
        self._run = _imported("wandb").init(project=_PROJECT, name=run, id=run, resume="allow", config=parameters)

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        self._run.log(metrics, step=number)

    def end(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        self._run.summary.update({f"test/{name}": value for name, value in metrics.items()})
        for path in files:
            self._run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)


_TRACKERS = {"mlflow": Mlflow, "wandb": WeightsAndBiases}


class Tracking:
    """All trackers of a run. A context manager: leaving it by an error marks the run as failed."""

    def __init__(self, kind: str, store: Store, run: str, parameters: dict[str, Any]) -> None:
        self._opened = ExitStack()
        self._trackers: list[Tracker] = []
        self._add(TensorBoard(store, run))
        if kind != "none":
            self._add(_TRACKERS[kind](run, parameters))

    def _add(self, tracker: Tracker) -> None:
        self._trackers.append(tracker)
        self._opened.push(lambda kind, error, trace: tracker.close(failed=kind is not None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """The metrics of a finished epoch."""
        for tracker in self._trackers:
            tracker.epoch(number, metrics)

    def end(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        """The final metrics and files."""
        kept = list(files)
        for tracker in self._trackers:
            tracker.end(metrics, kept)


def _imported(name: str) -> Any:
    import importlib  # noqa: PLC0415

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TrainingError(f"tracking by {name} needs its package: pip install 'onesheet[{name}]'") from error
