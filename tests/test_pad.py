"""Padding (ops/pad.py), and normalize of nn/functional.py."""
import numpy as np
import pytest

import fastnn
from check import captured_everywhere, check_op, compare, laid_images, same_bits
from fastnn import _core
from fastnn.nn import functional as F

MODES = ("constant", "reflect", "replicate", "circular")
NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def mean_of(pad, mode, value):
    def mean(x):
        pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [tuple(pad[i:i + 2]) for i in range(len(pad) - 2, -1, -2)]
        more = [tuple(max(n, 0) for n in p) for p in pairs]
        x = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape))]
        return np.pad(x, more, constant_values=value) if mode == "constant" else np.pad(x, more, NUMPY[mode])
    return mean


CASES = [((3, 5), (1, 2)), ((2, 3, 7), (2, 0)), ((2, 3, 4, 17), (1, 2, 3, 0)), ((1, 2, 3, 4, 3), (1, 1, 0, 2, 2, 1)), ((2, 3, 5, 6), (0, 0, 2, 1))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n, pad", CASES, ids=str)
def test_every_way(mode, n, pad):
    """All layouts, types, threads, eager and captured; gradients by finite differences."""
    x = np.random.default_rng(0).integers(1, 99, n).astype(float)
    check_op(lambda x: F.pad(x, pad, mode, 3 if mode == "constant" else None), mean_of(pad, mode, 3), x, op="copy", grads=(0,), tol=0, isas=_core.isas()[-1:],
             dtypes=("float32", "float64", "int64", "uint8"), layouts=("contiguous", "transposed", "sliced", "broadcast"), threads=(1, 3))


@pytest.mark.parametrize("seed", range(100))
def test_as_pytorch(torch, seed):
    """Random amounts, some negative; values, gradients and errors as PyTorch's, row-major and channels-last."""
    rng = np.random.default_rng(seed)
    mode, dims = MODES[seed % 4], int(rng.integers(2, 6))
    n = tuple(int(k) for k in rng.integers(1, 6, dims))
    count = int(rng.integers(1, dims + 1)) if mode == "constant" else int(rng.integers(max(dims - 2, 1), min(dims - 1, 3) + 1))
    pad = [int(k) for k in rng.integers(0 if rng.integers(3) else -2, 5, 2 * count)]
    x = rng.standard_normal(n)
    theirs = torch.tensor(x, requires_grad=True)
    for layout in (0, 1) if dims == 4 else (0,):
        leaf = (laid_images(x, layout) if dims == 4 else fastnn.tensor(x)).requires_grad_()
        try:
            want = torch.nn.functional.pad(theirs, pad, mode)
        except (RuntimeError, NotImplementedError):
            if mode != "circular" or min(pad) >= 0:          # it has no wrapping of what was cut
                with pytest.raises((RuntimeError, NotImplementedError)):
                    F.pad(leaf, pad, mode)
            return
        y = F.pad(leaf, pad, mode)
        compare(y, want.detach().numpy(), "float64", 0)
        theirs.grad = None
        (want ** 2).sum().backward(), (y ** 2).sum().backward()
        compare(leaf.grad, theirs.grad.numpy(), "float64", 64, theirs.grad.abs().max().item())


def test_the_layout_stays():
    x = fastnn.randn(2, 3, 4, 5)
    for mode in MODES:
        y = F.pad(_core.nhwc(x), (1, 2, 1, 0), mode)
        assert _core.is_nhwc(y) and y.is_contiguous() and not _core.is_nhwc(F.pad(x, (1, 2, 1, 0), mode))
        same_bits(y, F.pad(x, (1, 2, 1, 0), mode))
        same_bits(y, x.pad((1, 2, 1, 0), mode))


def test_a_padded_convolution_captured():
    """What padding_mode would do: pad, then convolve, the same bits eager and captured on any number of threads."""
    x, w = fastnn.randn(2, 3, 9, 8), fastnn.randn(4, 3, 3, 3).requires_grad_()

    def step(x):
        w.grad = None
        y = F.conv2d(F.pad(F.conv2d(x, w[:3], padding=1), (1, 1, 1, 1), "reflect"), w)
        (y ** 2).sum().backward()
        return y.detach()
    captured_everywhere(step, [w], x)


X = fastnn.zeros(1, 2, 6)
BAD = [
    ((X, (1,)), RuntimeError, "Padding length must be divisible by 2"),
    ((X, (1,) * 8), RuntimeError, "less than or equal to two times the input dimension but got padding length 8 and input of dimension 3"),
    ((X, (6, 1), "reflect"), RuntimeError, r"less than the corresponding input dimension, but got: padding \(6, 1\) at dimension 2 of input \[1, 2, 6\]"),
    ((X, (1, 7), "circular"), RuntimeError, "wrapping around more than once"),
    ((X, (1,) * 6, "reflect"), NotImplementedError, "Padding size 6 is not supported for 3D input tensor"),
    ((X[0, 0], (1, 1), "replicate"), NotImplementedError, "Padding size 2 is not supported for 1D input tensor"),
    ((X, (1, 1), "mirror"), NotImplementedError, "Unrecognised padding mode mirror"),
    ((X, (1, 1), "reflect", 2), RuntimeError, "Padding mode \"reflect\" doesn't take in value argument"),
    ((X, (-4, -3)), RuntimeError, r"padding \(-4, -3\) cuts off more than dimension 2 has.*\(1, 2, 6\)"),
    ((X[:, :, :0], (1, 1), "replicate"), RuntimeError, "dimension 2 is empty"),
    ((X, (1.5, 1)), TypeError, "must be tuple of ints, but found element of type float at pos 0"),
    ((X, (1, True)), TypeError, "type bool at pos 1"),
    ((X, 1), TypeError, "must be tuple of ints, not int"),
    ((X, (1, 1), "constant", "a"), TypeError, "value.*str"),
    (([1.0], (1, 1)), TypeError, "must be Tensor, not list"),
    ((X.int(), (1, 1), "constant", 1 << 40), RuntimeError, "overflow"),
]


@pytest.mark.parametrize("args, error, words", BAD, ids=range(len(BAD)))
def test_bad_input(args, error, words):
    with pytest.raises(error, match=words):
        F.pad(*args)


# ---- normalize -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{}, {"p": 1}, {"dim": 0}, {"dim": (1, 2), "eps": 2.0}, {"p": float("inf"), "dim": -1}, {"p": 3.5}], ids=str)
def test_normalize_as_pytorch(torch, options):
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    x[1, :, 2] = 0
    leaf, theirs = fastnn.tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, want = F.normalize(leaf, **options), torch.nn.functional.normalize(theirs, **options)
    compare(y, want.detach().numpy(), "float64", 16, 1)
    if options.get("p") not in (1, 3.5, float("inf")):       # where |x| has a corner at 0, or two are largest, subgradients differ
        (y ** 3).sum().backward(), (want ** 3).sum().backward()
        compare(leaf.grad, theirs.grad.numpy(), "float64", 64, 10)
    out = fastnn.zeros(3, 4, 5, dtype=fastnn.float64)
    assert F.normalize(fastnn.tensor(x), **options, out=out) is out
    same_bits(out, y)


def test_normalize_bad_input():
    with pytest.raises(RuntimeError, match="out=... arguments don't support automatic differentiation"):
        F.normalize(fastnn.ones(2, 3).requires_grad_(), out=fastnn.zeros(2, 3))
    with pytest.raises(IndexError, match="Dimension out of range"):
        F.normalize(fastnn.ones(3))
