"""Matrix products, and linear layers with all they do in training. Shapes of DeepBench and of fully connected networks."""
import numpy as np

from .workload import OURS, Layer, Workload, fingerprint


class GEMM(Workload):
    """C (M, N) = A (M, K) B (K, N), float32; `turned`: 'a' or 'b' lies transposed in memory."""
    twins = *OURS, "torch"

    def __init__(self, M, N, K, turned=""):
        self.M, self.N, self.K, self.turned = M, N, K, turned
        self.flops, self.bytes = 2 * M * N * K, 4 * (M * K + K * N + M * N)

    def small_size(self):
        return min(self.M, 9), min(self.N, 7), min(self.K, 8), self.turned

    def arrays(self):
        rng = self.rng()
        lies = lambda name, rows, columns: (columns, rows) if name == self.turned else (rows, columns)
        a, b = self.normal(rng, *lies("a", self.M, self.K)), self.normal(rng, *lies("b", self.K, self.N))
        return a.T if self.turned == "a" else a, b.T if self.turned == "b" else b

    def make(self, twin):
        a, b = map(twin.tensor, self.arrays())
        c = twin.lib.empty(self.M, self.N)

        def product():
            twin.lib.mm(a, b, out=c)
        call = twin.capture(product)

        def result():
            for _ in range(3):
                call()
            return [fingerprint(c.numpy())]
        return call, result

    def jax(self):
        import jax
        import jax.numpy as jnp
        flips = [name == self.turned for name in "ab"]
        a, b = (jnp.array(m.T if flip else m) for m, flip in zip(self.arrays(), flips))
        product = jax.jit(lambda a, b: (a.T if flips[0] else a) @ (b.T if flips[1] else b))
        call = lambda: product(a, b).block_until_ready()
        return call, lambda: [fingerprint(call())]

    def numpy(self):
        (a, b), c = self.arrays(), np.empty((self.M, self.N), np.float32)
        return (lambda: np.matmul(a, b, out=c)), lambda: [fingerprint(np.matmul(a, b, out=c))]


class Linear(Layer):
    """y = x w^T + b of M rows, forward and backward."""
    twins = *OURS, "torch"

    def __init__(self, M, I, O):
        self.M, self.I, self.O = M, I, O
        self.flops, self.bytes = 6 * M * I * O, 3 * 4 * (M * I + I * O + M * O)

    def small_size(self):
        return min(self.M, 5), 7, 6

    def arrays(self):
        rng, M, I, O = self.rng(), self.M, self.I, self.O
        weights = [self.normal(rng, O, I, scale=I ** -0.5), self.normal(rng, O)]
        return self.normal(rng, M, I), weights, self.normal(rng, M, O)

    def layer(self, F, x, w, b):
        return F.linear(x, w, b)

    def jax_layer(self, x, w, b):
        return x @ w.T + b

    def numpy_layer(self, x, w, b, dy):
        return [x @ w.T + b, dy @ w, dy.T @ x, dy.sum(0)]


SIZES = (256, 256, 256), (1760, 16, 1760), (2048, 32, 2048), (2560, 64, 2560), (35, 8457, 1760), (512, 8, 50000)
WORKLOADS = {
    **{f"gemm {n}": GEMM(n, n, n) for n in (1024, 2048)},
    **{f"gemm {m}x{n}x{k}".replace("256x256x256", "256"): GEMM(m, n, k) for m, n, k in SIZES},
    "gemm 1024x700x512 a bt": GEMM(1024, 700, 512, "b"),
    "gemm 512x512x12544 at b": GEMM(512, 512, 12544, "a"),
    **{f"linear 1024->1024 m{m}": Linear(m, 1024, 1024) for m in (1, 8, 64, 512)},
}
