"""Matrix products."""
from .workload import Workload, fingerprint


class GEMM(Workload):
    """C = A B, square, float32."""

    def __init__(self, n):
        self.n, self.flops, self.bytes = n, 2 * n ** 3, 3 * 4 * n ** 2

    def small(self):
        return GEMM(9)

    def arrays(self):
        rng = self.rng()
        return self.normal(rng, self.n, self.n), self.normal(rng, self.n, self.n)

    def _make(self, lib):
        a, b = map(lib.from_numpy, self.arrays())
        c = lib.empty(self.n, self.n)
        return (lambda: lib.mm(a, b, out=c)), lambda: [fingerprint(lib.mm(a, b, out=c).numpy())]

    def fastnn(self):
        import fastnn
        return self._make(fastnn)

    def torch(self):
        import torch
        return self._make(torch)

    def jax(self):
        import jax
        import jax.numpy as jnp
        a, b = map(jnp.array, self.arrays())
        product = jax.jit(lambda a, b: a @ b)
        call = lambda: product(a, b).block_until_ready()
        return call, lambda: [fingerprint(call())]

    def numpy(self):
        import numpy as np
        (a, b), c = self.arrays(), np.empty((self.n, self.n), np.float32)
        return (lambda: np.matmul(a, b, out=c)), lambda: [fingerprint(np.matmul(a, b, out=c))]


WORKLOADS = {"gemm 1024": GEMM(1024), "gemm 256": GEMM(256)}
