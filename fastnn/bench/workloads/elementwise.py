"""Activations, softmax, dropout and losses, forward and backward."""
import numpy as np

from .workload import DENSE, Layer, Workload, replayed

GRADIENT = {"relu": lambda x, y, dy: dy * (y > 0), "tanh": lambda x, y, dy: dy * (1 - y * y),
            "softmax": lambda x, y, dy: y * (dy - (y * dy).sum(-1, keepdims=True))}


def log_softmax(x):
    z = x - x.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Activation(Layer):
    """y = f(x) for x (rows, columns): 'gelu' (exact), 'tanh', 'relu', or 'softmax' of each row."""
    twins = DENSE

    def __init__(self, name, rows, columns):
        self.name, self.rows, self.columns = name, rows, columns
        self.bytes = 5 * 4 * rows * columns          # x, y; x or y, dy, dx

    def small_size(self):
        return self.name, 5, 7

    def arrays(self):
        rng = self.rng()
        return self.normal(rng, self.rows, self.columns), [], self.normal(rng, self.rows, self.columns)

    def layer(self, F, x):
        return getattr(F, self.name)(x, *([-1] if self.name == "softmax" else []))

    def jax_layer(self, x):
        import jax
        return jax.nn.gelu(x, approximate=False) if self.name == "gelu" else getattr(jax.nn, self.name)(x)

    def form(self, library):
        return None if library == "numpy" and self.name not in GRADIENT else super().form(library)

    def numpy_layer(self, x, dy):
        f = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "softmax": lambda x: np.exp(log_softmax(x))}
        y = f[self.name](x)
        return [y, GRADIENT[self.name](x, y, dy)]


class Dropout(Workload):
    """y = x m / (1 - p), m random with mean 1 - p, and dx = dy m / (1 - p) with the same m; p = 1/2."""

    def __init__(self, rows, columns):
        self.shape = rows, columns
        self.bytes = 4 * 4 * rows * columns          # x, y; dy, dx

    def small_size(self):
        return 100, 70

    def arrays(self):
        rng = self.rng()
        return self.normal(rng, *self.shape) + 9, self.normal(rng, *self.shape) + 9

    def told(self, x, y, dy, dx):
        """What holds for any mask; the share that is kept, as far as it does not depend on chance."""
        x, y, dy, dx = (np.asarray(a) for a in (x, y, dy, dx))
        kept = y != 0
        right = np.allclose(y, 2 * x * kept) and np.allclose(dx, 2 * dy * kept) and abs(kept.mean() - 0.5) < 0.05
        return [[float(right), float(x.sum(dtype=np.float64) / x.size)]]

    def make(self, twin):
        x, dy = map(twin.tensor, self.arrays())
        x.requires_grad_()
        layer = twin.compile(lambda x: twin.F.dropout(x, 0.5))

        kept = []

        def step():
            x.grad = None
            kept.clear()
            kept.append(layer(x))
            kept[0].backward(dy)
        call = twin.capture(step)

        def result():
            replayed(call, kept)
            return self.told(*(t.detach().numpy() for t in (x, kept[0], dy, x.grad)))
        return call, result

    def jax(self):
        import jax
        import jax.numpy as jnp
        x, dy = map(jnp.array, self.arrays())

        @jax.jit
        def step(key, x, dy):
            key, now = jax.random.split(key)
            y, pull = jax.vjp(lambda x: jnp.where(jax.random.bernoulli(now, 0.5, x.shape), x * 2, 0), x)
            return key, y, pull(dy)[0]
        box = [jax.random.key(0)]

        def call():
            box[0], *found = jax.block_until_ready(step(box[0], x, dy))
            return found

        def result():
            y, dx = call()
            return self.told(x, y, dy, dx)
        return call, result

    def numpy(self):
        (x, dy), rng = self.arrays(), self.rng()

        def call():
            mask = (rng.random(self.shape, np.float32) < 0.5) * np.float32(2)
            return x * mask, dy * mask

        def result():
            y, dx = call()
            return self.told(x, y, dy, dx)
        return call, result


class CrossEntropy(Layer):
    """Mean of -log softmax(x)[label] over rows of x (rows, classes)."""
    twins = DENSE

    def __init__(self, rows, classes):
        self.rows, self.classes = rows, classes
        self.bytes = 3 * 4 * rows * classes          # x; x, dx

    def small_size(self):
        return 6, 5

    def arrays(self):
        return self.normal(self.rng(), self.rows, self.classes), [], np.ones((), np.float32)

    def constants(self):
        return [np.random.default_rng(self.seed + 1).integers(0, self.classes, self.rows)]

    def layer(self, F, x, labels):
        return F.cross_entropy(x, labels)

    def jax_layer(self, x, labels):
        import jax
        import jax.numpy as jnp
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], 1))

    def numpy_layer(self, x, labels, dy):
        z, at = log_softmax(x), (np.arange(len(x)), labels)
        dx = np.exp(z)
        dx[at] -= 1
        return [-z[at].mean(), dx * (dy / len(x))]


class SquaredError(Layer):
    """Mean of (x - t)^2."""
    twins = DENSE

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.bytes = 5 * 4 * rows * columns          # x, t; x, t, dx

    def small_size(self):
        return 6, 5

    def arrays(self):
        return self.normal(self.rng(), self.rows, self.columns), [], np.ones((), np.float32)

    def constants(self):
        return [self.normal(np.random.default_rng(self.seed + 1), self.rows, self.columns)]

    def layer(self, F, x, t):
        return F.mse_loss(x, t)

    def jax_layer(self, x, t):
        return ((x - t) ** 2).mean()

    def numpy_layer(self, x, t, dy):
        d = x - t
        return [(d * d).mean(), d * (2 * dy / np.float32(d.size))]


class Embedding(Layer):
    """Rows of a table (words, features) at indices (N, T), and the table's gradient."""
    twins, first = DENSE, True

    def __init__(self, words, features, N, T):
        self.words, self.features, self.N, self.T = words, features, N, T
        self.bytes = 4 * features * (words + 4 * N * T)              # rows, y; dy, rows of dw, which is all written

    def small_size(self):
        return 11, 5, 3, 4

    def arrays(self):
        rng = self.rng()
        indices, weights = rng.integers(0, self.words, (self.N, self.T)), [self.normal(rng, self.words, self.features)]
        return indices, weights, self.normal(rng, self.N, self.T, self.features)

    def layer(self, F, x, w):
        return F.embedding(x, w)

    def jax_layer(self, x, w):
        return w[x]

    def numpy_layer(self, x, w, dy):
        dw = np.zeros_like(w)
        np.add.at(dw, x, dy)
        return [w[x], dw]


WORKLOADS = {
    "gelu 4096x3072": Activation("gelu", 4096, 3072),
    "gelu 64x1024": Activation("gelu", 64, 1024),
    "tanh 4096x2048": Activation("tanh", 4096, 2048),
    "softmax 4096x1000": Activation("softmax", 4096, 1000),
    "dropout 4096x2048": Dropout(4096, 2048),
    "cross-entropy 4096x1000": CrossEntropy(4096, 1000),
    "cross-entropy 64x10": CrossEntropy(64, 10),
    "mse 4096x1024": SquaredError(4096, 1024),
    "embedding 10000x512 32x128": Embedding(10000, 512, 32, 128),
}
