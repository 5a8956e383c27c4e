from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_fused_batch_norm_trains_the_same_variables_to_the_same_values(precision: str):
    import keras

    from training.fused import with_fused_batch_norm

    def trained(fused: bool) -> list[np.ndarray]:
        keras.utils.set_random_seed(5)
        image = keras.Input((12, 8, 3))
        x = keras.layers.Conv2D(8, 3, dtype=precision)(image)
        x = keras.layers.BatchNormalization(dtype=precision)(x)
        # Of one dimension, which the kernel does not do.
        x = keras.layers.BatchNormalization()(keras.layers.GlobalAveragePooling2D()(x))
        plain = keras.Model(image, keras.layers.Dense(5, activation="sigmoid", dtype="float32")(x))
        model = with_fused_batch_norm(plain) if fused else plain
        names = [type(layer).__name__ for layer in model.layers]
        assert ("FusedBatchNorm" in names) == fused
        assert {id(v) for v in model.weights} == {id(v) for v in plain.weights}
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
        rng = np.random.default_rng(1)
        images, labels = rng.random((24, 12, 8, 3)), rng.random((24, 5)) < 0.3
        model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
        np.testing.assert_allclose(model.predict(images, verbose=0), plain.predict(images, verbose=0), atol=1e-6)
        return plain.get_weights()

    for one, other in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 if precision == "float32" else 2e-2)


def test_a_nested_and_mirrored_model_says_the_same_fused():
    import keras

    from training.fused import FusedBatchNorm, with_fused_batch_norm
    from training.scoring import inference

    image = keras.Input((12, 8, 3))
    x = keras.layers.BatchNormalization(center=False)(keras.layers.Conv2D(4, 3)(image))
    inner = keras.Model(image, keras.layers.ReLU()(keras.layers.BatchNormalization(scale=False)(x)))
    outer = keras.Input((12, 8, 3))
    maps = keras.layers.Average()([inner(outer), keras.ops.flip(inner(keras.ops.flip(outer, axis=2)), axis=2)])
    model = keras.Model(outer, keras.layers.GlobalAveragePooling2D()(maps))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.2, 2, variable.shape))
    images = rng.uniform(0, 255, (3, 12, 8, 3)).astype(np.float32)
    fused = with_fused_batch_norm(model)
    kinds = [type(layer) for layer in fused._flatten_layers()]
    assert kinds.count(FusedBatchNorm) == 2, "each once, however often it is called"
    wanted = model(images, training=False).numpy()
    np.testing.assert_allclose(fused(images, training=False).numpy(), wanted, rtol=1e-5)
    forward = inference(model)
    np.testing.assert_allclose(forward(images).numpy(), wanted, rtol=1e-5)
    for variable in model.variables:
        variable.assign(variable * 1.5)
    np.testing.assert_allclose(forward(images).numpy(), model(images, training=False).numpy(), rtol=1e-5)
