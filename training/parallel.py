"""Data-parallel Keras 3: `fit` as ever, with the gradients of each step averaged over the workers of a Ray Train run.

Keras 3's own `fit` does not run under tf.distribute.MultiWorkerMirroredStrategy (keras-team/keras#20585,
ray-project/ray#47464). So the strategy only starts TensorFlow's collective runtime from TF_CONFIG, which Ray sets,
the model lives outside its scope, and `train_step` averages the gradients in one flat collective. Nothing here
knows posters: other Keras projects may lift the file.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

# Keys of TensorFlow's own groups count up from 1.
_GROUP_KEY = 7001


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of a run. Make it once a process, before any TensorFlow operation."""

    rank: int
    world_size: int
    hint: str = "ring"
    # Every worker traces the same collectives in the same order, which gives them the same keys.
    _keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def from_tf_config(cls) -> Workers:
        """Join the group that TF_CONFIG describes; alone without one."""
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        members = config.get("cluster", {}).get("worker", [])
        if len(members) < 2:
            return cls(rank=0, world_size=1)
        # Starts the collective runtime: TensorFlow has no other public way.
        tf.distribute.MultiWorkerMirroredStrategy()
        hint = "nccl" if tf.config.list_physical_devices("GPU") else "ring"
        return cls(rank=int(config["task"]["index"]), world_size=len(members), hint=hint)

    def sum(self, flat: tf.Tensor) -> tf.Tensor:
        """Add a float32 [n] tensor up over all workers. Every worker must call it, or all wait."""
        if self.world_size == 1:
            return flat
        return tf.raw_ops.CollectiveReduceV2(
            input=flat,
            group_size=self.world_size,
            group_key=_GROUP_KEY,
            instance_key=next(self._keys),
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
            communication_hint=self.hint,
        )


def reduce_mean(tensors: Sequence[tf.Tensor], workers: Workers) -> list[tf.Tensor]:
    """Average each tensor over all workers, in one collective.

    tensors: float tensors, the same shapes and order on every worker. Returns tensors of the same shapes and
    dtypes. Every worker must call it once a step, or all wait.
    """
    if workers.world_size == 1:
        return list(tensors)
    flat = tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], axis=0)
    mean = workers.sum(flat) / workers.world_size
    parts = tf.split(mean, [tf.size(tensor) for tensor in tensors])
    return [
        tf.cast(tf.reshape(part, tf.shape(tensor)), tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)
    ]


def broadcast(variables: Sequence[Any], workers: Workers) -> None:
    """Give every worker the values that rank 0 holds, before the first step."""
    share = float(workers.world_size if workers.rank == 0 else 0)
    values = [tf.cast(variable.value, tf.float32) * share for variable in variables]
    for variable, value in zip(variables, reduce_mean(values, workers), strict=True):
        variable.assign(tf.cast(value, variable.dtype))


class DataParallelModel(keras.Model):
    """A functional model whose `fit` averages gradients over workers.

    Made from a model's inputs and outputs, it shares that model's layers, so the model trains with it. The loss
    must be a mean over the batch (Keras's default); with the sample weights of `training.inputs.Plan` a step on
    W workers is the step of one process on the whole global batch.
    """

    def __init__(self, model: keras.Model, workers: Workers) -> None:
        super().__init__(inputs=model.inputs, outputs=model.outputs)
        self.workers = workers

    def train_step(self, data: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(y)[0])
        variables = self.trainable_weights
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(reduce_mean(gradients, self.workers), variables, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)


class AgreeOnStatistics(keras.callbacks.Callback):
    """Averages what the optimizer does not train, such as BatchNorm's moving statistics, at the end of each epoch."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        variables = [v for v in self.model.non_trainable_variables if v.dtype.startswith("float")]
        if variables and self._workers.world_size > 1:
            for variable, value in zip(
                variables, reduce_mean([v.value for v in variables], self._workers), strict=True
            ):
                variable.assign(value)
