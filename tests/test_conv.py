"""csrc/conv.c, the checked calls over it, conv2d and conv1d, and their layers."""
import math

import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, as_pytorch, compare, laid_images, machine, same_bits
from fastnn import _core, kernels, nn
from fastnn.nn import functional as F

CONFIGS = 170


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


class Config:
    """A random convolution: shapes, options and layouts of the operands."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        groups, I, O = (pick(rng, *v) for v in ((1, 1, 1, 2, 3), (1, 2, 3, 4, 6, 16, 17, 33), (1, 2, 3, 6, 8, 16, 20, 33, 65)))
        if seed % 6 == 0:
            groups, I, O = pick(rng, 1, 4, 7, 16, 35), 1, pick(rng, 1, 1, 2)
        self.filter = tuple(rng.integers(1, 6, 2)) if rng.integers(2) else (pick(rng, 1, 3, 5),) * 2
        self.stride = tuple(rng.integers(1, 4, 2)) if rng.integers(2) else (1, 1)
        self.dilation = tuple(rng.integers(1, 4, 2)) if seed % 3 == 0 else (1, 1)
        self.padding, self.groups = tuple(rng.integers(0, 4, 2)), groups
        reach = [(n - 1) * d + 1 - 2 * p for n, d, p in zip(self.filter, self.dilation, self.padding)]
        size = [max(int(rng.integers(1, 14)), n) for n in reach]
        size[1] += 30 if seed % 5 == 0 else 0
        self.shapes = (int(rng.integers(1, 4)), I * groups, *size), (O * groups, I, *self.filter), (O * groups,)
        self.bias, self.layouts = bool(rng.integers(2)), rng.integers(0, 3, 2)
        self.arrays = [rng.standard_normal(n) for n in self.shapes]
        self.rng = rng

    def options(self):
        return {k: tuple(map(int, getattr(self, k))) for k in ("stride", "padding", "dilation")} | {"groups": self.groups}


@pytest.mark.parametrize("block", range(10))
def test_as_pytorch(torch, block):
    """Forward and all gradients of random convolutions, both types, every instruction set, some number of threads."""
    for seed in range(block * CONFIGS // 10, (block + 1) * CONFIGS // 10):
        c = Config(seed)
        theirs = [torch.tensor(a, requires_grad=True) for a in c.arrays]
        want = torch.nn.functional.conv2d(*theirs[:2], theirs[2] if c.bias else None, **c.options())
        dy = c.rng.standard_normal(tuple(want.shape))
        want.backward(torch.tensor(dy))
        sizes = [torch.tensor(np.abs(a), requires_grad=True) for a in c.arrays]
        size = torch.nn.functional.conv2d(*sizes, **c.options())
        size.backward(torch.tensor(np.abs(dy)))
        for dtype in (np.float32, np.float64):
            for isa in _core.isas():
                with machine(isa, THREADS[seed % len(THREADS)]):
                    x, w, b = (a.astype(dtype) for a in c.arrays)
                    leaves = [laid_images(x, c.layouts[0]), fastnn.tensor(w), fastnn.tensor(b)]
                    leaves = [t.requires_grad_() for t in leaves]
                    y = F.conv2d(*leaves[:2], leaves[2] if c.bias else None, **c.options())
                    y.backward(laid_images(dy.astype(dtype), c.layouts[1]))
                what, tol = f"configuration {seed} {c.shapes} {c.options()} {isa}", 12 if dtype == np.float32 else 24
                compare(y, want.detach().numpy(), dtype.__name__, tol, size.detach().numpy(), what)
                for t, their, s in list(zip(leaves, theirs, sizes))[:3 if c.bias else 2]:
                    compare(t.grad, their.grad.numpy(), dtype.__name__, tol, s.grad.numpy(), f"{what}, gradient")


# ---- blocks, parts and shares: shapes large enough for several of each ---------------------------------------------------

LARGE = (((2, 64, 30, 20), (64, 64, 3, 3), {"padding": 1}), ((9, 6, 14, 14), (16, 6, 5, 5), {}), ((9, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
         ((2, 3, 61, 63), (40, 3, 7, 7), {"padding": 3, "stride": 2}), ((3, 130, 7, 7), (70, 130, 3, 3), {"padding": 1}),
         ((40, 20, 3, 2), (33, 20, 1, 1), {}), ((2, 512, 9, 10), (70, 512, 1, 1), {"stride": 2}), ((9, 34, 8, 7), (70, 34, 3, 3), {"stride": 2, "padding": 1}),
         ((1, 5, 300, 4), (3, 5, 9, 1), {"dilation": (4, 1)}),
         ((2, 4, 200, 40), (6, 4, 3, 3), {"padding": "same"}), ((1, 256, 4, 3), (300, 256, 3, 3), {"padding": 1}),
         ((1, 3, 16, 1030), (9, 3, 4, 4), {"stride": (4, 3)}))


@pytest.mark.parametrize("x_shape, w_shape, options", LARGE, ids=lambda v: str(v).replace(" ", ""))
def test_same_bits_for_all_threads(x_shape, w_shape, options, isa):
    """1, 2, 3 and 7 threads; row-major and channels-last operands, but for a 1x1 filter, which is a dense layer over the latter; and the meaning."""
    rng, first, direct = np.random.default_rng(0), {}, {**options, "winograd": False}
    x, w, b = (rng.standard_normal(n).astype(np.float32) for n in (x_shape, w_shape, w_shape[:1]))
    dy = rng.standard_normal(F.conv2d(*map(fastnn.tensor, (x, w)), **options).shape).astype(np.float32)
    for n in THREADS:
        for layout in (0, 1):
            with machine(isa, n):
                t, g, k = laid_images(x, layout), laid_images(dy, layout), fastnn.tensor(w)
                found = (_core.conv2d_fwd(t, k, fastnn.tensor(b), act=1, **direct), _core.conv2d_bwd_x(g, k, x_shape, **direct),
                         *_core.conv2d_bwd_w(g, t, w_shape, **direct))
            assert all(_core.guard_words_whole(v) for v in found)
            kind = layout if w_shape[2:] == (1, 1) and not options else 0
            same_bits(first.setdefault(kind, found), found, f"{n} threads, layout {layout}, result")
    pair = {k: (v, v) if isinstance(v, int) else v for k, v in options.items() if k != "groups"}
    p = pair.pop("padding", (0, 0))
    pads = (1, 1, 1, 1) if p == "same" else (p[0], p[0], p[1], p[1])
    means = [lambda x, w, b, dy: ref.conv2d_fwd(x, w, b, padding=pads, groups=options.get("groups", 1), **pair),
             lambda x, w, b, dy: ref.conv2d_bwd_x(dy, w, x_shape, padding=pads, groups=options.get("groups", 1), **pair),
             lambda x, w, b, dy: ref.conv2d_bwd_w(dy, x, w_shape, padding=pads, groups=options.get("groups", 1), **pair)[0],
             lambda x, w, b, dy: dy.sum((0, 2, 3))]
    arrays = [a.astype(float) for a in (x, w, b, dy)]
    for mean, *results, kind in zip(means, *first.values(), ("y", "dx", "dw", "db")):
        want = mean(*arrays)
        for got in results:
            compare(got, np.maximum(want, 0) if kind == "y" else want, "float32", 40, mean(*map(np.abs, arrays)), kind)


# ---- options ---------------------------------------------------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("size, filt, dilation", [(7, 3, 1), (7, 4, 1), (9, 2, 3), (5, 1, 1), (12, 5, 2), (10, 4, 3)])
def test_padding_same_and_valid(torch, size, filt, dilation):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, size, size + 3)), rng.standard_normal((4, 3, filt, max(filt - 1, 1)))
    for padding in ("same", "valid"):
        y = as_pytorch(torch, lambda lib, x, w: lib.nn.functional.conv2d(x, w, padding=padding, dilation=dilation), x, w)
        assert padding == "valid" or y.shape[2:] == (size, size + 3)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 2}, {"dilation": (3,), "groups": 2}, {"padding": "same"},
                                     {"padding": [1], "stride": (3,)}], ids=str)
@pytest.mark.parametrize("batch", [(3,), (0,), ()], ids=str)
def test_lines_as_pytorch(torch, options, batch):
    rng, groups = np.random.default_rng(0), options.get("groups", 1)
    arrays = [rng.standard_normal(n) for n in ((*batch, 4, 11), (6, 4 // groups, 3), (6,))]
    y = as_pytorch(torch, lambda lib, *leaves: lib.nn.functional.conv1d(*leaves, **options), *arrays)
    assert y.is_contiguous() and y.view(-1).shape == (y.numel(),)


def test_without_a_batch():
    x, w, b = fastnn.randn(3, 8, 9), fastnn.randn(5, 3, 3, 2), fastnn.randn(5)
    same_bits(F.conv2d(x, w, b, padding=1), F.conv2d(x.unsqueeze(0), w, b, padding=1)[0])
    x = x.requires_grad_()
    F.conv2d(x, w, b).sum().backward()
    assert x.grad.shape == (3, 8, 9)


def test_layouts_and_contiguity():
    """Results are channels-last and count as contiguous; row-major input is read where it lies."""
    x, w = fastnn.randn(2, 3, 8, 9), fastnn.randn(5, 3, 3, 3)
    y = F.conv2d(x, w)
    assert y.is_contiguous() and y.stride() == (6 * 7 * 5, 1, 7 * 5, 5) and _core.is_nhwc(y)
    same_bits(y.view(2, -1), y.reshape(2, -1))
    same_bits(F.conv2d(_core.nhwc(x), w), y)
    step = fastnn.capture(lambda x, w: F.conv2d(x, w))
    for _ in range(3):
        same_bits(step(x, w), y)
    assert [op for ops in step.operations() for op, _ in ops] == ["conv2d_fwd"] * len(step.operations())


def test_gradients_only_where_needed():
    """Each gradient alone is what it is with the others; an input that needs none costs nothing."""
    operands = fastnn.randn(2, 3, 6, 6), fastnn.randn(4, 3, 3, 3), fastnn.randn(4)
    leaves = [t.detach().requires_grad_() for t in operands]
    (F.conv2d(*leaves) ** 2).sum().backward()
    for i, whole in enumerate(leaves):
        alone = [t.detach().requires_grad_(i == j) for j, t in enumerate(operands)]

        def step():
            alone[i].grad = None
            (F.conv2d(*alone) ** 2).sum().backward()
        step = fastnn.capture(step)
        for _ in range(3):
            step()
        assert [t.grad is not None for t in alone] == [i == j for j in range(3)]
        same_bits(alone[i].grad, whole.grad)
        done = {op for op, _ in step.operations()[0]}
        assert ("conv2d_bwd_x" in done, "conv2d_bwd_w" in done) == (i == 0, i > 0)


def test_the_gradient_of_an_expanded_sum():
    """dy of stride 0, as sum().backward() gives it."""
    x, w = fastnn.randn(2, 3, 6, 6), fastnn.randn(4, 3, 3, 3).requires_grad_()
    F.conv2d(x, w, padding=1).sum().backward()
    dw = _core.conv2d_bwd_w(fastnn.ones(2, 4, 6, 6), x, (4, 3, 3, 3), padding=1)[0]
    compare(w.grad, dw.numpy().astype(float), "float32", tol=20, bound=np.full(dw.shape, 72.0))


def test_not_finite(torch):
    """NaN and infinity reach what they meet, and nothing else."""
    rng = np.random.default_rng(0)
    for C, K, H, W in ((1, 3, 9, 12), (5, 20, 7, 8), (20, 18, 6, 7)):
        x, w, dy = (rng.standard_normal(n) for n in ((2, C, H, W), (K, C, 3, 3), (2, K, H - 2, W - 2)))
        x[0, 0, 4, 3], x[1, C - 1, 0, 0], dy[1, 1, 2, 3], dy[0, 0, 0, 0] = np.nan, np.inf, np.nan, np.inf
        leaves, theirs = [fastnn.tensor(a).requires_grad_() for a in (x, w)], [torch.tensor(a, requires_grad=True) for a in (x, w)]
        y, want = F.conv2d(*leaves), torch.nn.functional.conv2d(*theirs)
        y.backward(fastnn.tensor(dy)), want.backward(torch.tensor(dy))
        for a, b in ((y.detach(), want.detach()), *((p.grad, q.grad) for p, q in zip(leaves, theirs))):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-11)


def test_changing_image_sizes_share_memory():
    """Steps of ever-changing sizes stay near what the largest needs."""
    rng, w = np.random.default_rng(0), fastnn.randn(16, 8, 3, 3).requires_grad_()

    def step(n, size):
        w.grad = None
        F.conv2d(fastnn.zeros(n, 8, size, size), w, padding=1).sum().backward()
    step(8, 40)
    _core.reset_peak_memory()
    step(8, 40)
    most = _core.memory_info()["peak_in_use"]
    for _ in range(300):
        step(int(rng.integers(1, 9)), int(rng.integers(3, 41)))
    assert _core.memory_info()["peak_in_use"] <= 1.5 * most


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("N, C, K, H, W, groups, stride", [
    (40, 16, 32, 3, 4, 1, 1), (2, 3, 5, 6, 7, 1, 1), (2, 64, 2, 6, 7, 1, 1), (2, 64, 64, 16, 16, 1, 2), (1, 32, 32, 9, 9, 4, 1),
    (2, 64, 64, 9, 9, 64, 1)])
def test_all_taps_but_the_middle_far_outside(N, C, K, H, W, groups, stride, size, layout, isa):
    """The 1x1 filter in the middle does the work; rows between the taps, gigabytes of them, take no memory."""
    rng = np.random.default_rng(0)
    x = laid_images(rng.standard_normal((N, C, H, W)).astype(np.float32), layout).numpy()
    weight, m = rng.standard_normal((K, C // groups, size, size)).astype(np.float32), size // 2
    middle, options = weight[:, :, m:m + 1, m:m + 1].copy(), {"stride": stride, "groups": groups}
    far = {**options, "padding": 3000 * m, "dilation": 3000}
    _core.reset_peak_memory()
    before = _core.memory_info()["in_use"]
    y = kernels.conv2d_forward(x, weight, **far)
    dx, dw, db = kernels.conv2d_backward(y, x, weight, **far)
    assert _core.memory_info()["peak_in_use"] - before < 1 << 27
    want = kernels.conv2d_forward(x, middle, **options)
    want_dx, want_dw, want_db = kernels.conv2d_backward(want, x, middle, **options)
    for a, b in ((y, want), (dx, want_dx), (dw[:, :, m:m + 1, m:m + 1], want_dw), (db, want_db)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5 * np.abs(b).max())
    assert not np.delete(dw.reshape(K, -1, size * size), size * m + m, 2).any()


# ---- messages --------------------------------------------------------------------------------------------------------------

X, WEIGHT, POINT = (8, 3, 32, 32), (16, 3, 3, 3), (16, 3, 1, 1)
BAD = [
    ((X, (16, 4, 3, 3)), {}, RuntimeError,
     r"conv2d: input \(N,C,H,W\)=\(8,3,32,32\) has C=3, but weight \(K,C/groups,R,S\)=\(16,4,3,3\) with groups=1 needs C=4"),
    (((8, 4, 5, 5), (4, 4, 3, 3)), {"groups": 2}, RuntimeError, r"has C=4.*\(4,4,3,3\) with groups=2 needs C=8"),
    (((32, 32), WEIGHT), {}, RuntimeError, r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d, but got input of size: \[32, 32\]"),
    (((1, *X), WEIGHT), {}, RuntimeError, r"Expected 3D \(unbatched\) or 4D.*\[1, 8, 3, 32, 32\]"),
    ((X, (16, 3, 3)), {}, RuntimeError, r"conv2d: weight \(K,C/groups,R,S\) needs 4 dimensions, got \(16, 3, 3\)"),
    ((X, WEIGHT, (3,)), {}, RuntimeError, r"\(16,3,3,3\) needs a bias of shape \(16,\), but got bias \(3,\)"),
    ((X, WEIGHT, (16, 1)), {}, RuntimeError, r"bias \(16, 1\)"),
    ((X, WEIGHT), {"stride": 0}, RuntimeError, "non-positive stride is not supported"),
    ((X, WEIGHT), {"padding": (1, -1)}, RuntimeError, "negative padding is not supported"),
    ((X, WEIGHT), {"dilation": 0}, RuntimeError, "non-positive dilation is not supported"),
    ((X, WEIGHT), {"groups": 0}, RuntimeError, "non-positive groups is not supported"),
    ((X, (16, 1, 3, 3)), {"groups": 3}, RuntimeError, r"\(16,1,3,3\) has K=16, which groups=3 does not divide"),
    (((8, 3, 2, 32), WEIGHT), {}, RuntimeError, r"Calculated padded input size per channel: \(2 x 32\). Kernel size: \(3 x 3\). Kernel size can't be greater"),
    ((X, WEIGHT), {"dilation": 20}, RuntimeError, r"\(32 x 32\). Kernel size: \(41 x 41\)"),
    ((X, WEIGHT), {"padding": "full"}, RuntimeError, "Invalid padding string: 'full'"),
    ((X, WEIGHT), {"padding": "same", "stride": 2}, RuntimeError, "padding='same' is not supported for strided convolutions"),
    ((X, WEIGHT), {"stride": (1, 1, 1)}, RuntimeError, r"expected stride to be a single integer value or a list of 2 values.*\[1, 1, 1\]"),
    ((X, WEIGHT), {"stride": 1.5}, TypeError, "conv2d: stride must be an int or a tuple of 2 ints, got 1.5"),
    ((X, WEIGHT), {"padding": None}, TypeError, "padding must be an int"), ((X, WEIGHT), {"groups": "2"}, TypeError, "groups must be an int"),
    ((X, WEIGHT), {"padding": 1 << 60}, RuntimeError, "too large a padding"), ((X, (16, 3, 0, 3)), {}, RuntimeError, "need 1 or more elements"),
    (((2, 3, 0, 8), WEIGHT), {"padding": 2}, RuntimeError, r"\(2,3,0,8\)"), ((X, (0, 3, 3, 3)), {}, RuntimeError, "K=0"),
    ((X, WEIGHT), {"padding": 1 << 39}, RuntimeError, "elements"),
    ((X, POINT), {"dilation": 0}, RuntimeError, "non-positive dilation is not supported"), ((X, POINT), {"stride": 0}, RuntimeError, "non-positive stride"),
    ((X, POINT), {"stride": True}, TypeError, "stride must be an int.*got True"), ((X, POINT), {"padding": -1}, RuntimeError, "negative padding"),
    ((X, POINT, (15,)), {}, RuntimeError, r"\(16,3,1,1\) needs a bias of shape \(16,\), but got bias \(15,\)"),
    ((X, (16, 4, 1, 1)), {}, RuntimeError, r"has C=3, but weight.*\(16,4,1,1\) with groups=1 needs C=4"),
]


@pytest.mark.parametrize("shapes, options, error, words", BAD, ids=range(len(BAD)))
def test_messages(shapes, options, error, words):
    with pytest.raises(error, match=words):
        F.conv2d(*map(fastnn.zeros, shapes), **options)


def test_messages_of_lines_and_of_types():
    x, w = fastnn.zeros(2, 3, 9), fastnn.zeros(4, 3, 3)
    for args, options, words in (((x, w), {"padding": 1, "dilation": 9}, r"\(11\). Kernel size: \(19\)"),
                                 ((x[:, :2], w), {}, r"\(N,C,L\)=\(2,2,9\) has C=2.*\(4,3,3\)"),
                                 ((fastnn.zeros(2, 3, 4, 5), w), {}, "Expected 2D"), ((x, w, w[0, 0]), {}, r"\(4,3,3\) needs a bias of shape \(4,\)"),
                                 ((x, w), {"stride": (1, 2)}, "list of 1 values")):
        with pytest.raises(RuntimeError, match=words):
            F.conv1d(*args, **options)
    x, w, b = fastnn.zeros(2, 3, 9, 9), fastnn.zeros(4, 3, 3, 3), fastnn.zeros(4)
    for args in ((x.double(), w, b), (x, w.double(), b), (x, w, b.double())):
        with pytest.raises(RuntimeError, match="float(32|64).*float(32|64)"):
            F.conv2d(*args)
    with pytest.raises(NotImplementedError, match="int64"):
        F.conv2d(x.long(), w.long())
    for args in (([1], w), (x, None), (x, w, [1, 2, 3, 4])):
        with pytest.raises(TypeError, match="conv2d.*must be Tensor"):
            F.conv2d(*args)


def test_backward_calls_name_their_shapes():
    dy, x, w = fastnn.zeros(2, 4, 7, 7), fastnn.zeros(2, 3, 8, 8), fastnn.zeros(4, 3, 3, 3)
    with pytest.raises(RuntimeError, match=r"dy \(N,K,P,Q\)=\(2, 4, 7, 7\) does not fit the output \(2, 4, 6, 6\)"):
        _core.conv2d_bwd_x(dy, w, x.shape)
    with pytest.raises(RuntimeError, match=r"\(2, 4, 7, 7\).*\(2, 4, 6, 6\)"):
        _core.conv2d_bwd_w(dy, x, w.shape)


# ---- layers ----------------------------------------------------------------------------------------------------------------

LAYERS = [("Conv2d", (3, 4, 3), {}), ("Conv2d", (4, 6, (3, 5)), {"stride": 2, "padding": (1, 2), "groups": 2}),
          ("Conv2d", (3, 4, 3), {"padding": "same", "bias": False, "dilation": (1, 2)}),
          ("Conv1d", (4, 8, 3, 2, 1), {"groups": 2}), ("Conv1d", (3, 5, 2), {"padding": "valid"}),
          ("Conv2d", (3, 4, (3, 5)), {"padding": (1, 3), "padding_mode": "reflect", "stride": (2, 1)}),
          ("Conv2d", (3, 4, (2, 4)), {"padding": "same", "padding_mode": "replicate", "dilation": (1, 3)}),
          ("Conv2d", (2, 4, 3), {"padding": "valid", "padding_mode": "circular"}), ("Conv1d", (3, 4, 5), {"padding": 4, "padding_mode": "circular"})]


@pytest.mark.parametrize("kind, args, options", LAYERS, ids=str)
def test_layers_as_pytorch(torch, kind, args, options):
    ours, theirs = getattr(nn, kind)(*args, **options), getattr(torch.nn, kind)(*args, **options)
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(ours, name) == getattr(theirs, name)
    ours.load_state_dict({k: fastnn.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, args[0], 9, 10)[:4 if kind == "Conv2d" else 3]).astype(np.float32)
    a, b = fastnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = nn.Sequential(ours, nn.ReLU())(a), torch.relu(theirs(b))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), atol=1e-5)
    y.square().sum().backward(), z.square().sum().backward()
    for p, q in zip((a, *ours.parameters()), (b, *theirs.parameters())):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours(fastnn.tensor(x[0])).detach().numpy(), theirs(torch.tensor(x[0])).detach().numpy(), atol=1e-5)


def test_start_values():
    layer, bound = nn.Conv2d(16, 64, 3, groups=2), 1 / math.sqrt(8 * 9)
    for p in layer.parameters():
        a = p.detach().numpy()
        assert abs(a).max() <= bound and abs(a).max() > 0.9 * bound and abs(a.mean()) < 0.2 * bound


@pytest.mark.parametrize("options, error, words", [
    ({"groups": 0}, ValueError, "groups must be a positive integer"), ({"groups": 3}, ValueError, "in_channels must be divisible by groups"),
    ({"out_channels": 5, "groups": 2}, ValueError, "out_channels must be divisible by groups"),
    ({"padding": "full"}, ValueError, "Invalid padding string 'full'"),
    ({"padding": "same", "stride": (1, 2)}, ValueError, "padding='same' is not supported for strided"),
    ({"padding_mode": "wrap"}, ValueError, "padding_mode must be one of")])
def test_messages_of_layers(options, error, words):
    with pytest.raises(error, match=words):
        nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3, **options})


# ---- fastnn.kernels ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("layout", ("NCHW", "NHWC"))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_kernels(layout, dtype):
    rng = np.random.default_rng(0)
    x, w, b, dy = (rng.standard_normal(n).astype(dtype) for n in ((2, 4, 7, 8), (6, 2, 3, 2), (6,), (2, 6, 4, 9)))
    options = {"stride": (2, 1), "padding": (1, 1), "groups": 2}
    want = ref.conv2d_fwd(x.astype(float), w.astype(float), b, (2, 1), (1, 1, 1, 1), (1, 1), 2)
    dx, (dw, db) = (f(dy.astype(float), v.astype(float), n, (2, 1), (1, 1, 1, 1), (1, 1), 2)
                    for f, v, n in ((ref.conv2d_bwd_x, w, x.shape), (ref.conv2d_bwd_w, x, w.shape)))

    def turn(a):
        return a.transpose(0, 2, 3, 1) if layout == "NHWC" else a

    def near(got, want):
        assert got.dtype == dtype and got.flags.c_contiguous
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    X, DY = np.ascontiguousarray(turn(x)), np.ascontiguousarray(turn(dy))
    near(kernels.conv2d_forward(X, w, b, layout=layout, **options), turn(want))
    near(kernels.conv2d_forward(X, w, layout=layout, **options), turn(want - b[:, None, None]))
    out = np.empty(turn(want).shape, dtype)
    assert kernels.conv2d_forward(X, w, b, layout=layout, out=out, **options) is out
    near(out, turn(want))
    for got, mean in zip(kernels.conv2d_backward(DY, X, w, layout=layout, **options), (turn(dx), dw, db)):
        near(got, mean)
    with pytest.raises(ValueError, match="layout: 'CHWN'"):
        kernels.conv2d_forward(X, w, layout="CHWN")
    with pytest.raises(RuntimeError, match="expected four dimensions"):
        kernels.conv2d_forward(X[0], w, layout=layout)


@pytest.mark.parametrize("layout", ["row-major", "channels-last", "strided"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("shape", [(3, 20, 33, 5, 7), (1, 2, 1, 1, 9), (4, 70, 6, 8, 1)])
def test_a_1x1_filter_over_row_major_images(shape, stride, relu, layout):
    """y and all gradients as the form for channels-last images has them, whatever dy's layout."""
    n, c, k, h, w = shape
    rng = np.random.default_rng(0)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    P, Q = (h - 1) // down + 1, (w - 1) // right + 1
    x, weight, bias, dy = (fastnn.tensor(rng.standard_normal(s)) for s in ((n, c, h, w), (k, c, 1, 1), (k,), (n, k, P, Q)))
    dy = {"row-major": dy, "channels-last": _core.nhwc(dy), "strided": dy.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)}[layout]
    results = []
    for images in (x, _core.nhwc(x)):
        leaves = [t.clone().requires_grad_() for t in (images, weight, bias)]
        y = F.conv2d(*leaves, stride) if not relu else fastnn.ops.conv.conv2d_relu(*leaves, (stride, 0, 1, 1))
        y.backward(dy)
        assert y.is_contiguous()
        results.append([y.detach().numpy(), *(t.grad.numpy() for t in leaves)])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
