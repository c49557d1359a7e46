"""csrc/pool.h: what max_pool.c and avg_pool.c have in common, the checked calls over them, pooling functions (ops/pool.py) and layers (nn/pooling.py)."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, captured_everywhere, compare, laid_images, machine, same_bits
from fastnn import _core, kernels, nn
from fastnn.nn import functional as F

CONFIGS = 170
KINDS = ("max", "avg", "adaptive")


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def tapped(n, k, stride, pad, dilation, ceil_mode):
    """Is there a window, and has each a tap inside?"""
    lines = ref.pooling._lines(n, k, stride, pad, dilation, ceil_mode)
    return lines and all(len(ref.pooling._inside(line, n)) for line in lines)


class Config:
    """A random pool: input, options and layouts."""

    def __init__(self, kind, seed):
        self.rng = rng = np.random.default_rng((seed, KINDS.index(kind)))
        self.layouts = rng.integers(0, 3, 2)
        while True:
            C, long = pick(rng, 1, 2, 3, 6, 16, 17, 33, 70), rng.integers(2)
            self.shape = int(rng.integers(1, 4)), 1 + C % 4 if long else C, int(rng.integers(1, 15)), int(rng.integers(1, 80 if long else 15))
            if kind == "adaptive":
                self.options = {"output_size": tuple(int(pick(rng, 1, n, max(n // 2, 1), rng.integers(1, 12))) for n in self.shape[2:])}
                break
            k = (pick(rng, 1, 2, 3, 5), pick(rng, 2, 2, 3, 3, 4)) if seed % 16 else (int(rng.integers(10, 14)), int(rng.integers(12, 30)))
            s, p = (pick(rng, 1, 2, 3), pick(rng, 1, 2, 2, 3, 5)), tuple(int(rng.integers(n // 2 + 1)) for n in k)
            d = (pick(rng, 1, 2, 3), pick(rng, 1, 1, 2, 3)) if kind == "max" and seed % 3 == 0 else (1, 1)
            self.options = {"kernel_size": k, "stride": pick(rng, s, s, None), "padding": p, "ceil_mode": bool(rng.integers(2))}
            s = self.options["stride"] or k
            if all(tapped(*args, self.options["ceil_mode"]) for args in zip(self.shape[2:], k, s, p, d)):
                break
        if kind == "max":
            self.options["dilation"] = d
        elif kind == "avg":
            self.options |= {"count_include_pad": bool(rng.integers(2)), "divisor_override": pick(rng, None, None, 7, -3)}
        self.x = rng.standard_normal(self.shape)
        if kind == "max" and seed % 4 == 0:
            self.x = np.round(self.x)                        # with equals
        if kind == "max" and seed % 5 == 0:
            self.x.reshape(-1)[rng.integers(0, self.x.size, 3)] = pick(rng, np.nan, np.inf)
        if kind == "max" and seed % 11 == 0:
            self.x[...] = -np.inf


def pool_of(kind, library):
    return getattr(library, {"max": "max_pool2d", "avg": "avg_pool2d", "adaptive": "adaptive_avg_pool2d"}[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_as_pytorch(torch, kind, dtype):
    """Results, indices and gradients of random pools; every instruction set, some number of threads, any layout of x and dy."""
    indices = {"return_indices": True} if kind == "max" else {}
    for seed in range(CONFIGS):
        c = Config(kind, seed)
        x = c.x.astype(dtype)
        theirs = torch.tensor(x, requires_grad=True)
        want = pool_of(kind, torch.nn.functional)(theirs, **c.options, **indices)
        want, where = want if indices else (want, None)
        dy = c.rng.standard_normal(tuple(want.shape)).astype(dtype)
        want.backward(torch.tensor(dy))
        sizes = [5 * np.abs(a).max(initial=0, where=np.isfinite(a)) for a in (x, dy)]
        for isa in _core.isas():
            what = f"{kind} {c.shape} {c.options} layouts {c.layouts} {dtype} {isa}"
            with machine(isa, THREADS[seed % 4]):
                leaf = laid_images(x, c.layouts[0]).requires_grad_()
                y = pool_of(kind, F)(leaf, **c.options, **indices)
                if indices:
                    y, k = y
                    compare(k, where.numpy(), "int64", what=what)
                y.backward(laid_images(dy, c.layouts[1]))
            compare(y, want.detach().numpy(), dtype, tol=0 if indices else 8, bound=sizes[0], what=what)
            compare(leaf.grad, theirs.grad.numpy(), dtype, tol=8, bound=sizes[1], what=what)


# ---- layouts ---------------------------------------------------------------------------------------------------------

POOLS = {"max": lambda x: F.max_pool2d(x, 3, 2, 1), "avg": lambda x: F.avg_pool2d(x, 3, 2, 1), "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
         "global": lambda x: F.adaptive_avg_pool2d(x, 1)}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("C", (1, 2, 19))
def test_results_take_the_layout_of_the_input(pool, C):
    x = fastnn.randn(2, C, 9, 11)
    for given, last in ((x, False), (_core.nhwc(x), C > 1), (x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), C > 1),
                        (fastnn.randn(9, C, 2, 11).permute(2, 1, 0, 3), True)):
        leaf = given.detach().requires_grad_()
        y = pool(leaf)
        y.sum().backward()
        assert y.is_contiguous() and _core.is_nhwc(y) >= last and (C == 1 or leaf.grad.stride() == leaf.stride())
        assert y.shape[1:] == (C, 1, 1) or last or y.stride() == tuple(s // 4 for s in np.empty(y.shape, np.float32).strides)
        same = pool(given.contiguous().clone())
        np.testing.assert_allclose(y.detach().numpy(), same.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_channels_last_captured_and_by_any_number_of_threads(pool):
    """From the tagged result of one pool to another, with a row-major gradient: eager, captured, 1 to 7 threads, the same bits."""
    leaf = _core.nhwc(fastnn.randn(3, 18, 13, 14)).requires_grad_()

    def step(scale):
        leaf.grad = None
        y = pool(F.avg_pool2d(leaf * scale, 2, 1))
        (y.flatten(1) ** 2).sum().backward()
        return y.detach()
    captured_everywhere(step, [leaf], fastnn.tensor(1.5))


def test_without_a_batch():
    x = fastnn.randn(3, 8, 9)
    for f in (*POOLS.values(), lambda x: F.max_pool2d(x, 2, return_indices=True)[1]):
        y = f(x)
        assert y.dim() == 3
        same_bits(y, f(x.unsqueeze(0))[0])
    leaf = x.requires_grad_()
    F.max_pool2d(leaf, 2).sum().backward()
    assert leaf.grad.shape == x.shape and leaf.grad.sum().item() == 3 * 4 * 4


def test_lines(torch):
    """1-D pools with and without a batch, as PyTorch's."""
    rng = np.random.default_rng(0)
    for n, k, s, p in (((2, 3, 17), 3, 2, 1), ((4, 40), 2, None, 0), ((2, 5, 9), (4,), (3,), (2,)), ((0, 3, 6), 2, None, 0)):
        x = rng.standard_normal(n).astype(np.float32)
        for name, options in (("max_pool1d", {"return_indices": True}), ("max_pool1d", {"ceil_mode": True, "return_indices": True}),
                              ("avg_pool1d", {}), ("avg_pool1d", {"ceil_mode": True, "count_include_pad": False})):
            t, f = torch.tensor(x, requires_grad=True), fastnn.tensor(x).requires_grad_()
            want, got = (getattr(m, name)(a, k, s, p, **options) for m, a in ((torch.nn.functional, t), (F, f)))
            if "return_indices" in options:
                compare(got[1], want[1].numpy(), "int64")
                want, got = want[0], got[0]
            compare(got, want.detach().numpy(), "float32", bound=3)
            want.sum().backward()
            got.sum().backward()
            compare(f.grad, t.grad.numpy(), "float32", bound=1)


# ---- values ----------------------------------------------------------------------------------------------------------

def test_nan_stays_where_it_is():
    """NaN in x spoils an average only of its window; NaN in dy reaches only the element that won."""
    x = fastnn.ones(1, 2, 6, 40)
    x[0, 1, 3, 5] = float("nan")
    for pool in (F.max_pool2d, F.avg_pool2d):
        for layout in (lambda x: x, _core.nhwc):
            y = pool(layout(x), 2)
            assert fastnn.isnan(y).sum().item() == 1 and fastnn.isnan(y[0, 1, 1, 2]).item()
    for layout in (lambda x: x, _core.nhwc):
        leaf = layout(fastnn.arange(480.).view(1, 2, 6, 40)).requires_grad_()
        y = F.max_pool2d(leaf, 3, 2, 1)
        dy = fastnn.ones(*y.shape)
        dy[0, 0, 1, 4] = float("nan")
        y.backward(dy)
        assert np.argwhere(np.isnan(leaf.grad.numpy())).tolist() == [[0, 0, 3, 9]]


# ---- layers and NumPy ------------------------------------------------------------------------------------------------

def test_layers(torch):
    made = [("MaxPool2d", (3,), {}), ("MaxPool2d", ((3, 2), 2, 1), {}), ("MaxPool2d", (3, 2, 1, 2), {"ceil_mode": True}), ("AvgPool2d", (2,), {}),
            ("AvgPool2d", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False, "divisor_override": 5}), ("AdaptiveAvgPool2d", (3,), {}),
            ("AdaptiveAvgPool2d", ((None, 2),), {}), ("AdaptiveAvgPool2d", ([4, 1],), {}), ("MaxPool1d", (3, 2, 1), {"ceil_mode": True}),
            ("MaxPool1d", (2,), {}), ("AvgPool1d", (2,), {}), ("AvgPool1d", (3, 2, 1, True, False), {})]
    for name, args, options in made:
        ours, theirs = (getattr(m, name)(*args, **options) for m in (nn, torch.nn))
        assert repr(ours) == repr(theirs)
        x = np.random.default_rng(0).standard_normal((2, 3, 11) if "1d" in name else (2, 3, 11, 12))
        compare(ours(fastnn.tensor(x)), theirs(torch.tensor(x)).numpy(), "float64", bound=3)
    y, where = nn.MaxPool2d(2, return_indices=True)(fastnn.arange(16.).view(1, 1, 4, 4))
    assert where.view(-1).tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize("kind, options", [("max", {"kernel_size": 3, "stride": 2, "padding": 1}),
                                           ("max", {"kernel_size": (1, 2), "dilation": 2, "ceil_mode": True}),
                                           ("avg", {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
                                           ("avg", {"kernel_size": 2, "divisor_override": 3}),
                                           ("adaptive", {"output_size": (2, 3)})])
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_numpy_doors(kind, options, dtype):
    forward, backward = (getattr(kernels, f"{'adaptive_avg' if kind == 'adaptive' else kind}_pool2d_{way}") for way in ("forward", "backward"))
    x = np.random.default_rng(0).permutation(2 * 3 * 7 * 8).reshape(2, 3, 7, 8).astype(dtype)
    want = ref.max_pool2d_fwd(x, **options)[0] if kind == "max" else ref.avg_pool2d_fwd(x, **options)
    dy = np.random.default_rng(1).standard_normal(want.shape).astype(dtype)
    dwant = (ref.max_pool2d_bwd if kind == "max" else ref.avg_pool2d_bwd)(dy, x, **options)
    for layout, order in (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))):
        for arrange in (np.ascontiguousarray, lambda a: np.repeat(a, 2, 0)[::2]):
            y, saved = forward(arrange(x.transpose(order)), **options, layout=layout)
            compare(y, want.transpose(order), dtype)
            compare(backward(arrange(dy.transpose(order)), saved), dwant.transpose(order), dtype, tol=8, bound=4)
        out = np.empty_like(y)
        assert forward(x.transpose(order), **options, layout=layout, out=out)[0] is out
        same_bits(out, y)
    for bad, words in (((x[0],), "four dimensions.*N,C,H,W"), ((dy[..., :1], saved), r"dy \(N,C,P,Q\)")):
        with pytest.raises(RuntimeError, match=words):
            (forward if len(bad) == 1 else backward)(*bad, **(options if len(bad) == 1 else {}))


# ---- bad input -------------------------------------------------------------------------------------------------------

X = fastnn.zeros(2, 3, 8, 8)
BAD = [
    (F.max_pool2d, (X, 3), {"padding": 2}, RuntimeError, r"pad should be at most half.*pad=2.*\(2, 3, 8, 8\)"),
    (F.max_pool2d, (X, 9), {}, RuntimeError, r"Given input size: \(3x8x8\). Calculated output size: \(3x0x0\). Output size is too small"),
    (F.max_pool2d, (X, 0), {}, RuntimeError, "kernel size should be greater than zero.*kH: 0 kW: 0"),
    (F.max_pool2d, (X, (2, -1)), {}, RuntimeError, "kH: 2 kW: -1"),
    (F.max_pool2d, (X, 2), {"stride": 0}, RuntimeError, "stride should not be zero"),
    (F.max_pool2d, (X, 2), {"dilation": 0}, RuntimeError, "dilation should be greater than zero"),
    (F.max_pool2d, (X, 2), {"padding": -1}, RuntimeError, "pad must be non-negative, but got pad: -1"),
    (F.max_pool2d, (X, (2, 2, 2)), {}, RuntimeError, "kernel_size must either be a single int, or a tuple of two ints"),
    (F.max_pool2d, (X, 2, (1, 2, 3)), {}, RuntimeError, "stride must"),
    (F.max_pool2d, (X[0, 0], 2), {}, RuntimeError, r"3D.*4D.*\[8, 8\]"),
    (F.max_pool2d, (X[:, :0], 2), {}, RuntimeError, r"\[2, 0, 8, 8\]"),
    (F.max_pool2d, (X[:, :, :0], 2), {}, RuntimeError, r"\[2, 3, 0, 8\]"),
    (F.max_pool2d, (X, 2.5), {}, TypeError, "kernel_size.*must be tuple of ints, not float"),
    (F.max_pool2d, (X, "2"), {}, TypeError, "kernel_size.*not str"),
    (F.max_pool2d, (X, 2, True), {}, TypeError, "stride.*not bool"),
    (F.max_pool2d, (X, 2), {"ceil_mode": 1}, TypeError, "ceil_mode.*must be bool"),
    (F.max_pool2d, ([[1.0]], 2), {}, TypeError, "'input'.*must be Tensor, not list"),
    (F.max_pool2d, (X.bool(), 2), {}, NotImplementedError, "max_pool2d.*bool"),
    (F.avg_pool2d, (X, 3), {"padding": 2}, RuntimeError, "at most half"),
    (F.avg_pool2d, (X, 2), {"divisor_override": 0}, RuntimeError, "divisor must be not zero"),
    (F.avg_pool2d, (X, 2), {"divisor_override": 2.5}, TypeError, "divisor_override.*must be int"),
    (F.avg_pool2d, (X.int(), 2), {}, NotImplementedError, "avg_pool2d.*int32"),
    (F.adaptive_avg_pool2d, (X, (1, 2, 3)), {}, RuntimeError, "output_size must be 2"),
    (F.adaptive_avg_pool2d, (X, (-1, 2)), {}, RuntimeError, "greater than or equal to 0"),
    (F.adaptive_avg_pool2d, (X, 2.5), {}, TypeError, "output_size"),
    (F.adaptive_avg_pool2d, (X[:, :, :0], 2), {}, RuntimeError, r"non-zero size.*\[2, 3, 0, 8\]"),
    (F.adaptive_avg_pool2d, (X[0, 0], 2), {}, RuntimeError, r"3D or 4D tensor.*\[8, 8\]"),
    (F.max_pool1d, (X, 2), {}, RuntimeError, r"2D or 3D.*\[2, 3, 8, 8\]"),
    (F.max_pool1d, (X[0], (2, 2)), {}, RuntimeError, "kernel_size must be an int.*size 2"),
    (F.max_pool1d, (X[0], 2), {"padding": 2}, RuntimeError, r"at most half.*\(3, 8, 8\)"),
    (F.avg_pool1d, (X[0], 9), {}, RuntimeError, "Output size is too small"),
    (F.max_pool2d, (X, 1 << 40), {"padding": 1 << 39}, RuntimeError, "larger than an int32"),
]


@pytest.mark.parametrize("f, args, options, error, words", BAD, ids=range(len(BAD)))
def test_bad_input(f, args, options, error, words):
    with pytest.raises(error, match=words):
        f(*args, **options)


def test_extreme_options_that_fit():
    """Strides far beyond the input leave one window; empty results have their shapes."""
    far = 1 << 62
    for f, options in ((F.max_pool2d, {"dilation": 1}), (F.avg_pool2d, {})):
        leaf = X.clone().requires_grad_()
        y = f(leaf, 2, far, 1, ceil_mode=True, **options)
        assert y.shape == (2, 3, 1, 1)
        y.sum().backward()
        assert leaf.grad.abs().sum().item() == 6 * (1 if f is F.max_pool2d else 0.25)
    assert F.max_pool2d(X, 1, 3, dilation=far).shape == (2, 3, 3, 3)
    leaf = X.clone().requires_grad_()
    F.adaptive_avg_pool2d(leaf, 0).sum().backward()
    assert not leaf.grad.any()
    assert F.adaptive_avg_pool2d(X[:, :0], 2).shape == (2, 0, 2, 2) and F.max_pool2d(X[:0], 2).shape == (0, 3, 4, 4)
