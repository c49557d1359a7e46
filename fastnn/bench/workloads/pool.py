"""Pooling, forward and backward."""
from .workload import Layer


class Pool(Layer):
    """Maximum ('max') or mean ('avg') of k x k windows over (N, C, H, W)."""

    def __init__(self, kind, N, C, H, k, stride=None, padding=0):
        self.kind, self.N, self.C, self.H, self.k, self.stride, self.padding = kind, N, C, H, k, stride or k, padding
        self.P = (H + 2 * padding - k) // self.stride + 1
        self.bytes = 2 * 4 * N * C * (H ** 2 + self.P ** 2)          # x in, y out; dy in, dx out

    def small(self):
        return Pool(self.kind, 2, 5, 10, self.k, self.stride, self.padding)

    def arrays(self):
        rng = self.rng()
        return self.normal(rng, self.N, self.C, self.H, self.H), [], self.normal(rng, self.N, self.C, self.P, self.P)

    def layer(self, F, x):
        return (F.max_pool2d if self.kind == "max" else F.avg_pool2d)(x, self.k, self.stride, self.padding)

    def jax_layer(self, x):
        import jax.numpy as jnp
        from jax import lax
        where = (1, 1, self.k, self.k), (1, 1, self.stride, self.stride), [(0, 0)] * 2 + [(self.padding,) * 2] * 2
        if self.kind == "max":
            return lax.reduce_window(x, -jnp.inf, lax.max, *where)
        return lax.reduce_window(x, 0.0, lax.add, *where) / self.k ** 2


WORKLOADS = {
    "maxpool 3x3/2 16x64x112x112": Pool("max", 16, 64, 112, 3, 2, 1),
    "maxpool 2x2 64x6x28x28": Pool("max", 64, 6, 28, 2),
    "avgpool 2x2 32x64x56x56": Pool("avg", 32, 64, 56, 2),
}
