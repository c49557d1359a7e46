"""Pooling, forward and backward."""
import numpy as np

from .workload import Layer


class Pool(Layer):
    """Maximum ('max') or mean ('avg') of k x k windows over (N, C, H, W)."""

    def __init__(self, kind, N, C, H, k, stride=None, padding=0):
        self.kind, self.N, self.C, self.H, self.k, self.stride, self.padding = kind, N, C, H, k, stride or k, padding
        self.P = (H + 2 * padding - k) // self.stride + 1
        self.bytes = 2 * 4 * N * C * (H ** 2 + self.P ** 2)          # x in, y out; dy in, dx out

    def small_size(self):
        return self.kind, 2, 5, 10, self.k, self.stride, self.padding

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

    def numpy_layer(self, x, dy):
        """Tap by tap; of equal ones in a window the first is the maximum."""
        p, reach, most = self.padding, (self.P - 1) * self.stride + 1, self.kind == "max"
        x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=-np.inf if most else 0)
        taps = [(..., slice(r, r + reach, self.stride), slice(c, c + reach, self.stride))
                for r, c in np.ndindex(self.k, self.k)]
        y, dx = (np.maximum if most else np.add).reduce([x[t] for t in taps]), np.zeros_like(x)
        left = np.ones(y.shape, bool)
        for t in taps:
            if most:
                here = left & (x[t] == y)
                left &= ~here
                dx[t] += dy * here
            else:
                dx[t] += dy * np.float32(self.k ** -2)
        return [y if most else y * np.float32(self.k ** -2), dx[..., p:p + self.H, p:p + self.H]]


class AdaptivePool(Layer):
    """Means of P x P windows that cover (N, C, H, H) evenly; P = 1: the mean of each channel."""

    def __init__(self, N, C, H, P):
        self.N, self.C, self.H, self.P = N, C, H, P
        self.bytes = 2 * 4 * N * C * (H ** 2 + P ** 2)

    def small_size(self):
        return 2, 3, 7, min(self.P, 3)

    def arrays(self):
        rng = self.rng()
        return self.normal(rng, self.N, self.C, self.H, self.H), [], self.normal(rng, self.N, self.C, self.P, self.P)

    def layer(self, F, x):
        return F.adaptive_avg_pool2d(x, self.P)

    def matrix(self):
        """(P, H): row i holds 1 / length over window i, which is [floor(i H / P), ceil((i + 1) H / P))."""
        m = np.zeros((self.P, self.H), np.float32)
        for i in range(self.P):
            window = slice(i * self.H // self.P, -(-(i + 1) * self.H // self.P))
            m[i, window] = 1 / (window.stop - window.start)
        return m

    def jax_layer(self, x):
        m = self.matrix()
        return x.mean((2, 3), keepdims=True) if self.P == 1 else m @ x @ m.T

    def numpy_layer(self, x, dy):
        m = self.matrix()
        return [m @ x @ m.T, m.T @ dy @ m]


WORKLOADS = {
    "maxpool 3x3/2 16x64x112x112": Pool("max", 16, 64, 112, 3, 2, 1),
    "maxpool 3x3/2 16x64x112x112 nhwc": Pool("max", 16, 64, 112, 3, 2, 1).nhwc(),
    "maxpool 2x2 32x64x56x56": Pool("max", 32, 64, 56, 2),
    "maxpool 2x2 32x64x56x56 nhwc": Pool("max", 32, 64, 56, 2).nhwc(),
    "maxpool 2x2 64x6x28x28": Pool("max", 64, 6, 28, 2),
    "avgpool 2x2 32x64x56x56": Pool("avg", 32, 64, 56, 2),
    "avgpool all 64x512x7x7": AdaptivePool(64, 512, 7, 1),
    "avgpool to 6x6 32x256x13x13": AdaptivePool(32, 256, 13, 6),
}
