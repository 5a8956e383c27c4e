"""The evaluation of a model on a node of the Ray cluster that has the CPUs and GPUs for it."""

from __future__ import annotations

from typing import Any

from cluster.errors import OnesheetError, TrainingError
from cluster.resources import room_for
from cluster.store import Store, open_store
from training.evaluation import VersionEvaluation, evaluate_version
from training.telling import Say, followed


def evaluate_elsewhere(
    store: Store, version: str, dataset_id: str | None, say: Say, *, cpus: int, gpus: int
) -> VersionEvaluation:
    """As `evaluate_version`, in a Ray task of so many CPUs and GPUs; Ray must be connected.

    Raises ClusterError where no node has them, and what `evaluate_version` raises.
    """
    import ray  # noqa: PLC0415  seconds, and only for those who ask for a worker
    from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415  as above
    from ray.util.queue import Queue  # noqa: PLC0415  as above

    room_for(ray.cluster_resources(), cpus=cpus, gpus=gpus)
    said = Queue(actor_options={"num_cpus": 0})
    # A node that dies costs the evaluation's minutes: it writes nothing that would have to be undone.
    task = ray.remote(_evaluate).options(
        num_cpus=cpus,
        num_gpus=gpus,
        max_retries=2,
        runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": str(cpus)}},
    )
    with followed(said, say):
        try:
            found: VersionEvaluation = ray.get(task.remote(store.url, version, dataset_id, said))
        except RayTaskError as error:
            if isinstance(error.cause, OnesheetError):
                raise error.cause from error
            raise TrainingError(f"the evaluation failed: {type(error.cause).__name__}: {error.cause}") from error
        except RayError as error:
            raise TrainingError(f"the evaluation's worker was lost: {str(error).splitlines()[0]}") from error
    return found


def _evaluate(store_url: str, version: str, dataset_id: str | None, said: Any) -> VersionEvaluation:
    from training.quiet import start_tensorflow  # noqa: PLC0415  on the node where it runs

    start_tensorflow()
    return evaluate_version(open_store(store_url), version, dataset_id, said.put)
