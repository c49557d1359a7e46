"""What the families' cases share: the list, its numbers, operands, gradients."""
import numpy as np

import fastnn
import ref

RNG = np.random.default_rng(0)
CASES = {}
APART = ("contiguous", "transposed", "sliced")               # no element twice


def case(op, run, /, *args, mean=None, **options):
    """run(*args) is held against mean, by default the op's own meaning."""
    args = [np.asarray(a) if isinstance(a, np.generic) else a for a in args]
    CASES.setdefault(op, []).append((run, mean or ref.meaning(op), args, {"op": op, **options}))


def randn(*shape):
    return RNG.standard_normal(shape)


def away(*shape):
    """Not near zero, where a derivative may jump."""
    return RNG.uniform(0.2, 2, shape) * RNG.choice([-1, 1], shape)


def positive(*shape):
    return RNG.uniform(0.3, 3, shape)


def whole(low, high, *shape):
    return RNG.integers(low, high + 1, shape).astype(float)


def grad(f, dy, *leaves, which=0, read=False):
    """The gradient of f(*leaves), weighed with dy, at one of the leaves. read: something reads f's result before, so that capture leaves the two
    apart."""
    leaves = [x.detach().requires_grad_() if i == which else x for i, x in enumerate(leaves)]
    y = f(*leaves)
    if read:
        y.detach() + 1
    return fastnn.autograd.grad(y, leaves[which], dy)[0]
