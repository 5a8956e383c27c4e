"""Data-parallel Keras 3: `fit` as ever, with the gradients of each step averaged over the workers of a Ray Train run.

Keras 3's own `fit` does not run under tf.distribute.MultiWorkerMirroredStrategy (keras-team/keras#20585,
ray-project/ray#47464). So the strategy only starts TensorFlow's collective runtime from TF_CONFIG, which Ray sets,
the model lives outside its scope, and `train_step` sums gradients and metrics in one flat collective. Nothing here
knows posters: other Keras projects may lift the file (docs/parallel.md).
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
    """The workers of a run. Make it once a process, before any TensorFlow operation.

    hint: `ring` between CPUs, `nccl` between GPUs, of which each worker sees one (Ray sets CUDA_VISIBLE_DEVICES):
    several GPUs a node are several workers.
    """

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
        # A group is made of devices and its operations must stay on them; NCCL knows only GPUs.
        with tf.device("GPU:0" if self.hint == "nccl" else "CPU:0"):
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


def reduce_sum(tensors: Sequence[tf.Tensor], workers: Workers) -> list[tf.Tensor]:
    """Add each tensor up over all workers, in one collective.

    tensors: of the same shapes and order on every worker. They travel as float32. Returns tensors of the same shapes
    and dtypes. Every worker must call it once a step, or all wait.
    """
    if workers.world_size == 1 or not tensors:
        return list(tensors)
    flat = tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], axis=0)
    parts = tf.split(workers.sum(flat), [tf.size(tensor) for tensor in tensors])
    return [
        tf.cast(tf.reshape(part, tf.shape(tensor)), tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)
    ]


def reduce_mean(tensors: Sequence[tf.Tensor], workers: Workers) -> list[tf.Tensor]:
    """Average each float tensor over all workers; as `reduce_sum`."""
    return [tensor / workers.world_size for tensor in reduce_sum(tensors, workers)]


def broadcast(variables: Sequence[Any], workers: Workers) -> None:
    """Give every worker the values of the float variables that rank 0 holds, before the first step.

    Others are left alone: they are the states of random generators, which float32 cannot carry.
    """
    share = float(workers.rank == 0)
    floats = [variable for variable in variables if "float" in variable.dtype]
    values = [tf.cast(variable.value, tf.float32) * share for variable in floats]
    for variable, value in zip(floats, reduce_sum(values, workers), strict=True):
        variable.assign(tf.cast(value, variable.dtype))


class DataParallelModel(keras.Model):
    """A functional model whose `fit` averages gradients, and adds up metrics, over workers.

    Made from a model's inputs and outputs, it shares that model's layers, so the model trains with it. The loss
    must be a mean over the batch (Keras's default); with the sample weights of `training.inputs.Plan` a step on
    W workers is the step of one process on the whole global batch.

    accumulate_steps: steps whose mean gradient makes one update, each step counting the same; the workers exchange
    gradients only then. The optimizer sees updates alone, so schedules, clipping and moving averages count those;
    Keras's own `gradient_accumulation_steps` has schedules and averages count steps, and lets a group of steps run
    over the end of an epoch. steps_per_epoch: needed with it; the last step of an epoch makes an update of what is
    left.

    The logs are the same on every worker. Give metrics as `weighted_metrics`, or they count rows of weight 0; they
    must be sums over rows, which nearly all of Keras's are. `evaluate` and `predict` are each worker's own.

    With a LossScaleOptimizer (mixed_float16) the scaled gradients are summed, so one that is not finite on one worker
    is so on all, and all skip the update.
    """

    def __init__(
        self, model: keras.Model, workers: Workers, *, accumulate_steps: int = 1, steps_per_epoch: int | None = None
    ) -> None:
        if accumulate_steps > 1 and not steps_per_epoch:
            raise ValueError("accumulate_steps needs steps_per_epoch, so that an epoch ends with an update")
        super().__init__(inputs=model.inputs, outputs=model.outputs)
        self.workers = workers
        self._accumulated: _Accumulated | None = None
        self._accumulate_steps, self._steps_per_epoch = accumulate_steps, steps_per_epoch

    def compile(self, *args: Any, jit_compile: str | bool = "auto", **kwargs: Any) -> None:
        """As Keras's, but "auto" does not compile with XLA where there are several workers: it has no ring, no NCCL.

        Raises ValueError for jit_compile=True there.
        """
        if self.workers.world_size > 1:
            if jit_compile is True:
                raise ValueError("jit_compile=True: a step that waits for other workers cannot be compiled with XLA")
            jit_compile = False
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        if self._accumulate_steps > 1:
            self._accumulated = _Accumulated(self.trainable_weights, self._accumulate_steps, self._steps_per_epoch or 1)

    def train_step(self, data: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        counts = [v for metric in self.metrics if metric is not self._loss_tracker for v in metric.variables]
        before = [tf.identity(count.value) for count in counts]
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_weights
        gradients = tape.gradient(scaled, variables)
        self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        seen = [loss, _rows(x, sample_weight), *(c.value - b for c, b in zip(counts, before, strict=True))]
        loss, rows, *added = self._update(gradients, variables, seen)
        self._loss_tracker.update_state(loss / self.workers.world_size, sample_weight=rows)
        for count, old, new in zip(counts, before, added, strict=True):
            count.assign(old + new)
        return self.get_metrics_result()

    def _update(self, gradients: Sequence[Any], variables: Sequence[Any], seen: Sequence[Any]) -> list[tf.Tensor]:
        """Update the weights where it is time to; returns what was seen, summed over the workers."""
        used = [(tf.convert_to_tensor(g), v) for g, v in zip(gradients, variables, strict=True) if g is not None]

        def update(means: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            summed = reduce_sum([*means, *seen], self.workers)
            average = [total / self.workers.world_size for total in summed[: len(means)]]
            self.optimizer.apply_gradients(zip(average, [variable for _, variable in used], strict=True))
            return summed[len(means) :]

        if self._accumulated is None:
            return update([gradient for gradient, _ in used])
        accumulated = self._accumulated
        is_time = accumulated.add(used)
        return tf.cond(is_time, lambda: update(accumulated.take(used)), lambda: reduce_sum(list(seen), self.workers))


class _Accumulated:
    """The gradients of the steps since the last update, on one worker."""

    def __init__(self, variables: Sequence[Any], accumulate_steps: int, steps_per_epoch: int) -> None:
        # Not Keras variables: they would be saved with the weights.
        self._sums = {id(v): tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in variables}
        self._held = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._accumulate_steps, self._steps_per_epoch = accumulate_steps, steps_per_epoch

    def add(self, gradients: Sequence[tuple[tf.Tensor, Any]]) -> tf.Tensor:
        """Take in a step's gradients; a bool: is it time for an update?"""
        for gradient, variable in gradients:
            self._sums[id(variable)].assign_add(gradient)
        held, step = self._held.assign_add(1), self._step.assign_add(1)
        return (held % self._accumulate_steps == 0) | (step % self._steps_per_epoch == 0)

    def take(self, gradients: Sequence[tuple[tf.Tensor, Any]]) -> list[tf.Tensor]:
        """The mean gradients, of which nothing stays behind."""
        sums = [self._sums[id(variable)] for _, variable in gradients]
        means = [total / tf.cast(self._held, total.dtype) for total in sums]
        with tf.control_dependencies(means):
            for total in sums:
                total.assign(tf.zeros_like(total))
            self._held.assign(0)
        return means


class AgreeOnStatistics(keras.callbacks.Callback):
    """Averages BatchNorm's moving statistics over the workers at the end of each epoch; put it first.

    Each worker normalizes by its own batch. A moving average is linear, so to agree once an epoch gives exactly what
    agreeing at every step would, and nothing reads the statistics in between.
    """

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._workers.world_size > 1:
            variables = statistics(self.model)
            means = reduce_mean([variable.value for variable in variables], self._workers)
            for variable, value in zip(variables, means, strict=True):
                variable.assign(value)


def statistics(model: keras.Model) -> list[Any]:
    """The float variables that training changes besides the optimizer: not the weights of frozen layers."""
    leaves = [layer for layer in model._flatten_layers(include_self=False) if not layer._layers]
    found = [v for layer in leaves if layer.trainable for v in layer.non_trainable_variables if "float" in v.dtype]
    # A layer that is used twice is there twice.
    return list({id(variable): variable for variable in found}.values())


def _rows(x: Any, sample_weight: Any) -> tf.Tensor:
    """float32: rows of the batch that count."""
    if tf.is_tensor(sample_weight):
        return tf.math.count_nonzero(sample_weight, dtype=tf.float32)
    return tf.cast(tf.shape(keras.tree.flatten(x)[0])[0], tf.float32)
