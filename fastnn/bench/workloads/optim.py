"""Optimizers: one step on weights and gradients that are there."""
import numpy as np

from .workload import OURS, Workload, fingerprint

TRAFFIC = {"sgd": 3, "sgd-m": 5, "adam": 7, "adamw": 7}          # times the weights: p and each average both ways, g
CLIP, DECAY, MOMENTUM = 1.0, 1e-2, 0.9


def optimizer(lib, kind, parameters, lr, **options):
    """A library's optimizer by our short name."""
    if kind in ("adam", "adamw"):
        return (lib.optim.Adam if kind == "adam" else lib.optim.AdamW)(parameters, lr, **options)
    return lib.optim.SGD(parameters, lr, MOMENTUM if kind == "sgd-m" else 0, **options)


def jax_update(kind, lr, t, weights, g, m, v):
    """(weights, m, v) after step t; trees of arrays."""
    import jax
    import jax.numpy as jnp
    if kind == "sgd":
        return jax.tree.map(lambda p, g: p - lr * g, weights, g), m, v
    if kind == "sgd-m":
        m = jax.tree.map(lambda m, g: MOMENTUM * m + g, m, g)
        return jax.tree.map(lambda p, m: p - lr * m, weights, m), m, v
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    decay = 1 - lr * DECAY * (kind == "adamw")
    rate = lambda m, v: lr * (m / (1 - 0.9 ** t)) / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
    return jax.tree.map(lambda p, m, v: p * decay - rate(m, v), weights, m, v), m, v


def jax_state(kind, weights):
    """m and v at the start, as far as they are used."""
    import jax
    import jax.numpy as jnp
    zeros = lambda used: jax.tree.map(jnp.zeros_like, weights) if used else ()
    return zeros(kind != "sgd"), zeros(kind in ("adam", "adamw"))


def numpy_update(kind, lr, t, weights, gradients, m, v):
    """Step t in place; lists of arrays."""
    lr = np.float32(lr)
    for p, g, m_, v_ in zip(weights, gradients, m, v):
        if kind == "sgd":
            p -= lr * g
        elif kind == "sgd-m":
            m_ *= np.float32(MOMENTUM)
            m_ += g
            p -= lr * m_
        else:
            if kind == "adamw":
                p *= np.float32(1 - lr * DECAY)
            m_ += np.float32(0.1) * (g - m_)
            v_ += np.float32(0.001) * (g * g - v_)
            p -= lr / np.float32(1 - 0.9 ** t) * m_ / (np.sqrt(v_ / np.float32(1 - 0.999 ** t)) + np.float32(1e-8))


class Optimizer(Workload):
    """One step of 'sgd', 'sgd-m', 'adam' or 'adamw' (weight decay 0.01) on tensors of these shapes; `clip`: after scaling
    all gradients, in place, to norm 1. PyTorch takes part with its fused and its foreach form."""
    twins, lr = (*OURS, "torch", "torch_foreach"), 1e-3

    def __init__(self, kind, shapes, clip=False):
        self.kind, self.shapes, self.clip = kind, shapes, clip
        self.numbers = sum(int(np.prod(shape)) for shape in shapes)
        self.bytes = 4 * self.numbers * (TRAFFIC[kind] + 2 * clip)   # the norm reads g, what is scaled is written

    def small_size(self):
        return self.kind, [(3, 4), (5,)], self.clip

    def arrays(self):
        rng = self.rng()
        return [[self.normal(rng, *shape) for shape in self.shapes] for _ in range(2)]

    def make(self, twin):
        weights, gradients = self.arrays()
        parameters = [twin.lib.nn.Parameter(twin.tensor(w)) for w in weights]
        for p, g in zip(parameters, gradients):
            p.grad = twin.tensor(g)
        made = optimizer(twin.lib, self.kind, parameters, self.lr, **twin.optimizer)

        def step():
            if self.clip:
                twin.lib.nn.utils.clip_grad_norm_(parameters, CLIP)
            made.step()
        call = twin.capture(step)

        def result():
            for _ in range(3):
                call()
            return [fingerprint(np.concatenate([p.detach().numpy().ravel() for p in parameters]))]
        return call, result

    def jax(self):
        import jax
        import jax.numpy as jnp
        weights, gradients = ([jnp.array(a) for a in arrays] for arrays in self.arrays())

        def step(state, g):
            weights, m, v, t = state
            if self.clip:
                norm = jnp.sqrt(sum((a * a).sum() for a in g))
                g = [a * jnp.minimum(1, CLIP / (norm + 1e-6)) for a in g]
            return (*jax_update(self.kind, self.lr, t, weights, g, m, v), t + 1), g
        step = jax.jit(step, donate_argnums=(0, 1))
        box = [((weights, *jax_state(self.kind, weights), jnp.array(1.0)), gradients)]

        def call():
            box[0] = jax.block_until_ready(step(*box[0]))

        def result():
            for _ in range(3):
                call()
            return [fingerprint(np.concatenate([np.asarray(w).ravel() for w in box[0][0][0]]))]
        return call, result

    def numpy(self):
        weights, gradients = self.arrays()
        m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
        t = 0

        def call():
            nonlocal t
            t += 1
            if self.clip:
                norm = np.sqrt(sum((g * g).sum() for g in gradients))
                for g in gradients:
                    g *= min(np.float32(1), np.float32(CLIP) / (norm + np.float32(1e-6)))
            numpy_update(self.kind, self.lr, t, weights, gradients, m, v)

        def result():
            for _ in range(3):
                call()
            return [fingerprint(np.concatenate([w.ravel() for w in weights]))]
        return call, result


LARGE = [(1000, 1024)] * 25
MANY = [(64, 64), (64,)] * 100
WORKLOADS = {
    "sgd-m 25.6M": Optimizer("sgd-m", LARGE),
    "adam 25.6M": Optimizer("adam", LARGE),
    "adamw 25.6M clipped": Optimizer("adamw", LARGE, clip=True),
    "adam 200 tensors 0.4M": Optimizer("adam", MANY),
    "adamw 200 tensors 0.4M clipped": Optimizer("adamw", MANY, clip=True),
}
