"""Normalisation in training, forward and backward."""
import numpy as np

from .workload import CALLS, DENSE, Layer, fingerprint


def standardised(x, axes):
    """(x - mean) / sqrt(variance + 1e-5) over axes, the factor, mean and variance; in NumPy or JAX."""
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    rate = (var + 1e-5) ** -0.5
    return (x - mean) * rate, rate, mean, var


def back(dz, z, rate, axes):
    """dx from the gradient of z, the standardised x."""
    return rate * (dz - dz.mean(axes, keepdims=True) - z * (dz * z).mean(axes, keepdims=True))


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + 1e-5) w + b per channel of (N, C, H, W), running averages kept; `relu`: max(., 0) after."""

    def __init__(self, N, C, H, relu=False):
        self.N, self.C, self.H, self.relu = N, C, H, relu
        self.check = 5e-3 if relu else 2e-4          # rounding opens or shuts relu for the few numbers next to 0
        self.bytes = 8 * 4 * N * C * H ** 2          # x twice, y; x and dy twice, dx

    def small_size(self):
        return 3, 5, 6, self.relu

    def arrays(self):
        rng, shape = self.rng(), (self.N, self.C, self.H, self.H)
        x = self.normal(rng, *shape) * 2 + self.normal(rng, self.C, 1, 1)
        return x, [self.normal(rng, self.C), self.normal(rng, self.C)], self.normal(rng, *shape)

    def constants(self):
        return [np.zeros(self.C, np.float32), np.ones(self.C, np.float32)]

    def layer(self, F, x, w, b, mean, var):
        y = F.batch_norm(x, mean, var, w, b, training=True, momentum=0.1, eps=1e-5)
        return F.relu(y) if self.relu else y

    def averages(self, old, mean, var):
        """The running ones; they take the variance over n - 1."""
        n = self.N * self.H ** 2
        return old[0] * 0.9 + mean.ravel() * 0.1, old[1] * 0.9 + var.ravel() * (0.1 * n / (n - 1))

    def jax_layer(self, x, w, b, averages):
        import jax
        z, _, mean, var = standardised(x, (0, 2, 3))
        y = z * w[:, None, None] + b[:, None, None]
        return jax.nn.relu(y) if self.relu else y, jax.lax.stop_gradient(self.averages(averages, mean, var))

    def jax(self):
        """As many steps as the others, then compare."""
        import jax
        import jax.numpy as jnp
        x, weights, dy = self.arrays()
        x, dy, weights = jnp.array(x), jnp.array(dy), [jnp.array(w) for w in weights]

        @jax.jit
        def step(x, w, b, averages, dy):
            y, pull, averages = jax.vjp(lambda x, w, b: self.jax_layer(x, w, b, averages), x, w, b, has_aux=True)
            return [y, *pull(dy)], averages
        box = [tuple(map(jnp.array, self.constants()))]

        def call():
            found, box[0] = jax.block_until_ready(step(x, *weights, box[0], dy))
            return found
        return call, lambda: [fingerprint(a) for a in [call() for _ in range(CALLS)][-1] + list(box[0])]

    def numpy_layer(self, x, w, b, running_mean, running_var, dy):
        axes, w, b = (0, 2, 3), w[:, None, None], b[:, None, None]
        z, rate, mean, var = standardised(x, axes)
        y = z * w + b
        if self.relu:
            dy, y = dy * (y > 0), np.maximum(y, 0)
        running_mean[:], running_var[:] = self.averages((running_mean, running_var), mean, var)
        return [y, back(dy * w, z, rate, axes), (dy * z).sum(axes), dy.sum(axes)]


class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + 1e-5) w + b over the features of (rows, features)."""
    twins, check = DENSE, 2e-4

    def __init__(self, rows, features):
        self.rows, self.features = rows, features
        self.bytes = 5 * 4 * rows * features         # x, y; x, dy, dx: a row stays in the caches

    def small_size(self):
        return 6, 9

    def arrays(self):
        rng, shape = self.rng(), (self.rows, self.features)
        return self.normal(rng, *shape), [self.normal(rng, shape[1]), self.normal(rng, shape[1])], self.normal(rng, *shape)

    def layer(self, F, x, w, b):
        return F.layer_norm(x, (self.features,), w, b)

    def jax_layer(self, x, w, b):
        return standardised(x, -1)[0] * w + b

    def numpy_layer(self, x, w, b, dy):
        z, rate, *_ = standardised(x, -1)
        return [z * w + b, back(dy * w, z, rate, -1), (dy * z).sum(0), dy.sum(0)]


class GroupNorm(Layer):
    """(x - mean) / sqrt(variance + 1e-5) w + b over groups of channels of (N, C, H, W), w and b for each channel."""
    check = 2e-4

    def __init__(self, N, C, H, groups):
        self.N, self.C, self.H, self.groups = N, C, H, groups
        self.bytes = 5 * 4 * N * C * H ** 2          # x, y; x, dy, dx: a group stays in the caches

    def small_size(self):
        return 2, 6, 5, 3

    def arrays(self):
        rng, shape = self.rng(), (self.N, self.C, self.H, self.H)
        return self.normal(rng, *shape), [self.normal(rng, self.C), self.normal(rng, self.C)], self.normal(rng, *shape)

    def layer(self, F, x, w, b):
        return F.group_norm(x, self.groups, w, b)

    def jax_layer(self, x, w, b):
        z, *_ = standardised(x.reshape(self.N, self.groups, -1), -1)
        return z.reshape(x.shape) * w[:, None, None] + b[:, None, None]

    def numpy_layer(self, x, w, b, dy):
        rows, axes, w_ = (self.N, self.groups, -1), (0, 2, 3), w[:, None, None]
        z, rate, *_ = standardised(x.reshape(rows), -1)
        dx = back((dy * w_).reshape(rows), z, rate, -1).reshape(x.shape)
        z = z.reshape(x.shape)
        return [z * w_ + b[:, None, None], dx, (dy * z).sum(axes), dy.sum(axes)]


WORKLOADS = {
    "batchnorm 32x64x56x56": BatchNorm(32, 64, 56),
    "batchnorm 32x64x56x56 nhwc": BatchNorm(32, 64, 56).nhwc(),
    "batchnorm 64x128x28x28": BatchNorm(64, 128, 28),
    "batchnorm+relu 16x64x112x112": BatchNorm(16, 64, 112, relu=True),
    "layernorm 4096x768": LayerNorm(4096, 768),
    "groupnorm g32 16x64x56x56": GroupNorm(16, 64, 56, 32),
}
