"""The named workloads. Each gives, for one library, a function to time and a number to compare before timing.

A workload is a class with `flops` (per call), `bytes` (least memory traffic per call, 0: not memory bound), `check` (relative tolerance) and a method
per library: `fastnn`, `fastnn_captured`, `torch`, `jax`, `numpy`. A method returns (call, result): `call()` is what is timed, `result()` a number that all
libraries must agree on after the first few calls.
"""
import numpy as np


def mlp_weights(sizes, seed=0):
    """He-scaled weights and zero biases, the same for every library."""
    rng = np.random.default_rng(seed)
    return [((rng.standard_normal((o, i)) * np.sqrt(2 / i)).astype(np.float32), np.zeros(o, np.float32)) for i, o in zip(sizes, sizes[1:])]


class MLPStep:
    """One training step of a ReLU network with cross-entropy: forward, backward, optimizer."""
    check = 1e-3
    bytes = 0

    def __init__(self, sizes, batch, optimizer, lr):
        self.sizes, self.batch, self.optimizer, self.lr = sizes, batch, optimizer, lr
        macs = sum(i * o for i, o in zip(sizes, sizes[1:]))
        self.flops = 2 * batch * (3 * macs - sizes[0] * sizes[1])
        rng = np.random.default_rng(1)
        self.x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
        self.y = rng.integers(0, sizes[-1], batch)
        if optimizer == "sgd" and batch == 1:
            parameters = macs + sum(sizes[1:])
            self.bytes = 4 * 5 * parameters          # w in forward, backward and update, dw out and in, w out: the caches decide

    def _module(self, lib, nn, optim):
        layers = []
        for i, (w, b) in enumerate(mlp_weights(self.sizes)):
            layer = nn.Linear(w.shape[1], w.shape[0])
            with lib.no_grad():
                layer.weight.copy_(lib.from_numpy(w.copy()))
                layer.bias.copy_(lib.from_numpy(b.copy()))
            layers += [nn.ReLU()] * (i > 0) + [layer]
        net = nn.Sequential(*layers)
        opt = optim.Adam(net.parameters(), self.lr) if self.optimizer == "adam" else optim.SGD(net.parameters(), self.lr)
        return net, opt, lib.from_numpy(self.x.copy()), lib.from_numpy(self.y.copy())

    def _step(self, lib, nn, optim, cross_entropy, wrap=lambda f: f):
        net, opt, x, y = self._module(lib, nn, optim)

        def step(x, y):
            opt.zero_grad()
            loss = cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            return loss
        step = wrap(step)
        return lambda: step(x, y), lambda: [float(step(x, y).detach()) for _ in range(5)][-1]

    def fastnn(self):
        import fastnn
        return self._step(fastnn, fastnn.nn, fastnn.optim, fastnn.nn.functional.cross_entropy)

    def fastnn_captured(self):
        import fastnn
        return self._step(fastnn, fastnn.nn, fastnn.optim, fastnn.nn.functional.cross_entropy, fastnn.capture)

    def torch(self):
        import torch
        return self._step(torch, torch.nn, torch.optim, torch.nn.functional.cross_entropy)

    def jax(self):
        import jax
        import jax.numpy as jnp
        params = [(jnp.array(w.T), jnp.array(b)) for w, b in mlp_weights(self.sizes)]
        x, y, lr, adam = jnp.array(self.x), jnp.array(self.y), self.lr, self.optimizer == "adam"

        def loss_of(params):
            h = x
            for i, (w, b) in enumerate(params):
                h = (jax.nn.relu(h) if i else h) @ w + b
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1))

        def step(state):
            params, m, v, t = state
            loss, g = jax.value_and_grad(loss_of)(params)
            t = t + 1
            if adam:
                m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
                v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
                params = jax.tree.map(lambda p, m, v: p - lr * (m / (1 - 0.9 ** t)) / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8), params, m, v)
            else:
                params = jax.tree.map(lambda p, g: p - lr * g, params, g)
            return (params, m, v, t), loss
        step = jax.jit(step, donate_argnums=0)
        zeros = jax.tree.map(jnp.zeros_like, params)
        box = [(params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.array(0.0))]

        def call():
            box[0], loss = step(box[0])
            return loss.block_until_ready()
        return call, lambda: [float(call()) for _ in range(5)][-1]


class GEMM:
    """C = A B, square, float32."""
    check = 1e-3
    bytes = 0

    def __init__(self, n):
        self.n, self.flops = n, 2 * n ** 3
        rng = np.random.default_rng(0)
        self.a, self.b = (rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))

    def _product(self, lib):
        a, b = lib.from_numpy(self.a), lib.from_numpy(self.b)
        c = lib.empty(self.n, self.n)
        return (lambda: lib.mm(a, b, out=c)), lambda: float(abs(lib.mm(a, b)).sum())

    def fastnn(self):
        import fastnn
        return self._product(fastnn)

    def torch(self):
        import torch
        return self._product(torch)

    def numpy(self):
        return (lambda: self.a @ self.b), lambda: float(np.abs(self.a @ self.b).sum(dtype=np.float64))


class Loader:
    """A tenth of an epoch: shuffled batches of 64 from a TensorDataset of MNIST's size (60,000 images of 28x28, float32)."""
    check = 1e-3
    flops = 0
    bytes = 2 * 6000 * 784 * 4

    def _epoch(self, lib, data):
        rng = np.random.default_rng(0)
        images = lib.from_numpy(rng.random((60000, 784), dtype=np.float32))
        labels = lib.from_numpy(np.arange(60000) % 10)
        loader = data.DataLoader(data.TensorDataset(images, labels), batch_size=64, shuffle=True)
        box = [iter(loader)]

        def call():
            for _ in range(94):
                try:
                    next(box[0])
                except StopIteration:
                    box[0] = iter(loader)
                    next(box[0])

        def result():
            return sum(float(y.sum()) for _, y in loader)
        return call, result

    def fastnn(self):
        import fastnn
        import fastnn.utils.data
        return self._epoch(fastnn, fastnn.utils.data)

    def torch(self):
        import torch
        import torch.utils.data
        return self._epoch(torch, torch.utils.data)


WORKLOADS = {
    "mlp-tiny 16-32-32-4 b32 adam": MLPStep((16, 32, 32, 4), 32, "adam", 1e-3),
    "mlp 784-512-512-10 b64 sgd": MLPStep((784, 512, 512, 10), 64, "sgd", 1e-2),
    "mlp 784-512-512-10 b1 sgd": MLPStep((784, 512, 512, 10), 1, "sgd", 1e-2),
    "gemm 1024": GEMM(1024),
    "gemm 256": GEMM(256),
    "loader mnist b64 shuffled": Loader(),
}
