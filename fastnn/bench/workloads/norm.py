"""Batch normalisation in training, forward and backward."""
import numpy as np

from .workload import Layer, fingerprint


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + 1e-5) w + b per channel of (N, C, H, W), running averages kept."""
    check = 2e-4

    def __init__(self, N, C, H):
        self.N, self.C, self.H = N, C, H
        self.bytes = 8 * 4 * N * C * H ** 2          # x twice, y; x and dy twice, dx

    def small(self):
        return BatchNorm(3, 5, 6)

    def arrays(self):
        rng, shape = self.rng(), (self.N, self.C, self.H, self.H)
        x = self.normal(rng, *shape) * 2 + self.normal(rng, self.C, 1, 1)
        return x, [self.normal(rng, self.C), self.normal(rng, self.C)], self.normal(rng, *shape)

    def state(self, lib):
        return [lib.zeros(self.C), lib.ones(self.C)]

    def layer(self, F, x, w, b, mean, var):
        return F.batch_norm(x, mean, var, w, b, training=True, momentum=0.1, eps=1e-5)

    def jax(self):
        """Three steps like the others, then compare."""
        import jax
        import jax.numpy as jnp
        x, weights, dy = self.arrays()
        x, dy, weights, n = jnp.array(x), jnp.array(dy), [jnp.array(w) for w in weights], x.size // self.C

        def layer(x, w, b, averages):
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            y = (x - mean[:, None, None]) * (w / jnp.sqrt(var + 1e-5))[:, None, None] + b[:, None, None]
            new = averages[0] * 0.9 + mean * 0.1, averages[1] * 0.9 + var * (0.1 * n / (n - 1))
            return y, jax.lax.stop_gradient(new)

        @jax.jit
        def step(x, w, b, averages, dy):
            y, pull, averages = jax.vjp(lambda x, w, b: layer(x, w, b, averages), x, w, b, has_aux=True)
            return [y, *pull(dy)], averages
        box = [(jnp.zeros(self.C), jnp.ones(self.C))]

        def call():
            found, box[0] = jax.block_until_ready(step(x, *weights, box[0], dy))
            return found
        return call, lambda: [fingerprint(a) for a in [call() for _ in range(3)][-1] + list(box[0])]

    def numpy(self):
        x, (w, b), dy = self.arrays()
        averages, n, axes = [np.zeros(self.C, np.float32), np.ones(self.C, np.float32)], x.size // self.C, (0, 2, 3)
        w_, b_ = w[:, None, None], b[:, None, None]

        def call():
            mean, var = x.mean(axes), x.var(axes)
            rate = 1 / np.sqrt(var + 1e-5)[:, None, None]
            z = (x - mean[:, None, None]) * rate
            dw, db = (dy * z).sum(axes), dy.sum(axes)
            dx = w_ * rate * (dy - (db[:, None, None] + z * dw[:, None, None]) / n)
            averages[:] = averages[0] * 0.9 + mean * 0.1, averages[1] * 0.9 + var * (0.1 * n / (n - 1))
            return [z * w_ + b_, dx, dw, db]
        return call, lambda: [fingerprint(a) for a in [call() for _ in range(3)][-1] + averages]


WORKLOADS = {
    "batchnorm 32x64x56x56": BatchNorm(32, 64, 56),
    "batchnorm 64x128x28x28": BatchNorm(64, 128, 28),
}
