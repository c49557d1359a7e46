"""Transposed convolution: the checked calls of _ops_conv.pxi, ops/conv.py, the layers of nn/conv.py, the NumPy door."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, as_pytorch, check_op, compare, laid_images, machine, same_bits
from fastnn import _core, kernels, nn
from fastnn.nn import functional as F

CONFIGS = 110


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


class Config:
    """A random transposed convolution: shapes, options and layouts of the operands."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        groups, I, O = (pick(rng, *v) for v in ((1, 1, 1, 2, 3), (1, 2, 3, 16, 17, 33), (1, 2, 3, 8, 16, 33)))
        if seed % 6 == 0:
            groups, I, O = pick(rng, 4, 7, 16, 35), 1, pick(rng, 1, 1, 2)
        filt = tuple(rng.integers(1, 6, 2)) if rng.integers(2) else (pick(rng, 1, 2, 3, 4, 5),) * 2
        stride = tuple(rng.integers(1, 4, 2)) if rng.integers(3) else (1, 1)
        dilation = tuple(rng.integers(1, 5, 2)) if seed % 3 == 0 else (1, 1)
        self.filtering = seed % 4 == 1                       # what winograd.c may be asked, which spreads roundings over its tiles
        if self.filtering:
            groups, I, O, dilation = 1, pick(rng, 16, 32, 33), pick(rng, 16, 48), (1, 1)
            filt, stride = pick(rng, ((3, 3), (1, 1)), ((4, 4), (2, 2)), ((5, 5), (2, 2)))
        more = tuple(rng.integers(0, max(s, d)) for s, d in zip(stride, dilation))
        size = [int(n) for n in rng.integers(1, 13, 2)]
        reach = [(n - 1) * s + d * (k - 1) + m for n, s, d, k, m in zip(size, stride, dilation, filt, more)]
        padding = tuple(int(rng.integers(0, min(4, n // 2 + 1))) for n in reach)
        self.shapes = (pick(rng, 1, 2, 9), I * groups, *size), (I * groups, O, *map(int, filt)), (O * groups,)
        self.options = {"groups": groups} | {k: tuple(map(int, v)) for k, v in zip(("stride", "padding", "output_padding", "dilation"),
                                                                                  (stride, padding, more, dilation))}
        self.bias, self.layouts = bool(rng.integers(2)), rng.integers(0, 3, 2)
        self.arrays, self.rng = [rng.standard_normal(n) for n in self.shapes], rng


@pytest.mark.parametrize("block", range(5))
def test_as_pytorch(torch, block):
    """Forward and all gradients of random configurations, both types, every instruction set, some number of threads, any layout."""
    for seed in range(block * CONFIGS // 5, (block + 1) * CONFIGS // 5):
        c = Config(seed)
        theirs = [torch.tensor(a, requires_grad=True) for a in c.arrays]
        want = torch.nn.functional.conv_transpose2d(*theirs[:2], theirs[2] if c.bias else None, **c.options)
        dy = c.rng.standard_normal(tuple(want.shape))
        want.backward(torch.tensor(dy))
        sizes = [torch.tensor(np.abs(a), requires_grad=True) for a in c.arrays]
        size = torch.nn.functional.conv_transpose2d(*sizes, **c.options)
        size.backward(torch.tensor(np.abs(dy)))
        for dtype in (np.float32, np.float64):
            for isa in _core.isas():
                with machine(isa, THREADS[seed % len(THREADS)]):
                    x, w, b = (a.astype(dtype) for a in c.arrays)
                    leaves = [t.requires_grad_() for t in (laid_images(x, c.layouts[0]), fastnn.tensor(w), fastnn.tensor(b))]
                    y = F.conv_transpose2d(*leaves[:2], leaves[2] if c.bias else None, **c.options)
                    y.backward(laid_images(dy.astype(dtype), c.layouts[1]))
                what, spread = f"configuration {seed} {c.shapes} {c.options} {isa}", np.max if c.filtering else np.asarray
                compare(y, want.detach().numpy(), dtype.__name__, 40, spread(size.detach().numpy()), what)
                for t, their, s in list(zip(leaves, theirs, sizes))[:3 if c.bias else 2]:
                    compare(t.grad, their.grad.numpy(), dtype.__name__, 40, spread(s.grad.numpy()), f"{what}, gradient")


CASES = [((2, 5, 4, 3), (5, 6, 3, 3), {"stride": (2, 2), "padding": (1, 1), "output_padding": (1, 0)}, "conv2d_bwd_x"),
         ((2, 33, 3, 5), (33, 4, 2, 2), {"stride": (2, 2)}, "conv2d_bwd_x"),
         ((1, 6, 4, 9), (6, 17, 4, 3), {"stride": (3, 1), "dilation": (1, 2), "groups": 2}, "conv2d_bwd_x"),
         ((1, 18, 7, 6), (18, 17, 3, 3), {"padding": (1, 1)}, "winograd_bwd_x"),
         ((2, 32, 15, 14), (32, 16, 4, 4), {"stride": (2, 2), "padding": (1, 1)}, "winograd_bwd_x")]


@pytest.mark.parametrize("x_shape, w_shape, options, op", CASES, ids=lambda v: str(v).replace(" ", ""))
def test_every_way(x_shape, w_shape, options, op):
    """All layouts, instruction sets, threads, eager and captured; gradients by finite differences."""
    rng, groups = np.random.default_rng(0), options.get("groups", 1)
    (sh, sw), (ph, pw), (mh, mw), (dh, dw) = (options.get(k, (v, v)) for k, v in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1)))
    shape = (x_shape[0], w_shape[1] * groups, (x_shape[2] - 1) * sh - 2 * ph + dh * (w_shape[2] - 1) + mh + 1,
             (x_shape[3] - 1) * sw - 2 * pw + dw * (w_shape[3] - 1) + mw + 1)

    def mean(x, w, b):
        return ref.conv2d_bwd_x(x, w, shape, (sh, sw), (ph, ph, pw, pw), (dh, dw), groups) + b[:, None, None]
    check_op(lambda x, w, b: F.conv_transpose2d(x, w, b, **options), mean, *(rng.standard_normal(n) for n in (x_shape, w_shape, shape[1:2])), op=op, tol=40,
             bound=lambda *a: mean(*map(np.abs, a)), grads=(0, 1, 2), layouts=("contiguous", "transposed", "sliced"))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 2, "output_padding": 1}, {"dilation": (3,), "groups": 2},
                                     {"padding": [1], "stride": (3,)}], ids=str)
@pytest.mark.parametrize("batch", [(3,), (0,), ()], ids=str)
def test_lines_as_pytorch(torch, options, batch):
    rng, groups = np.random.default_rng(0), options.get("groups", 1)
    arrays = [rng.standard_normal(n) for n in ((*batch, 4, 7), (4, 6 // groups, 3), (6,))]
    y = as_pytorch(torch, lambda lib, *leaves: lib.nn.functional.conv_transpose1d(*leaves, **options), *arrays)
    assert y.is_contiguous() and y.view(-1).shape == (y.numel(),)


def test_without_a_batch_and_on_nothing():
    x, w, b = fastnn.randn(3, 8, 9), fastnn.randn(3, 5, 3, 2), fastnn.randn(5)
    y = F.conv_transpose2d(x, w, b, 2)
    same_bits(y, F.conv_transpose2d(x.unsqueeze(0), w, b, 2)[0])
    leaf = fastnn.zeros(0, 3, 4, 4).requires_grad_()
    w = w.requires_grad_()
    F.conv_transpose2d(leaf, w, b).sum().backward()
    assert leaf.grad.shape == (0, 3, 4, 4) and not w.grad.any()


def test_it_is_the_gradient_of_convolution():
    """The same bits as conv2d's backward gives, and channels-last as that leaves them."""
    dy, w = fastnn.randn(2, 6, 5, 5), fastnn.randn(6, 4, 3, 3)
    x = fastnn.zeros(2, 4, 10, 10).requires_grad_()
    F.conv2d(x, w, stride=2, padding=1).backward(dy)
    y = F.conv_transpose2d(dy, w, stride=2, padding=1, output_padding=1)
    same_bits(y, x.grad)
    assert y.is_contiguous() and _core.is_nhwc(y)


def test_gradients_only_where_needed():
    operands = fastnn.randn(2, 3, 6, 6), fastnn.randn(3, 4, 3, 3), fastnn.randn(4)
    leaves = [t.detach().requires_grad_() for t in operands]
    (F.conv_transpose2d(*leaves, 2) ** 2).sum().backward()
    for i, whole in enumerate(leaves):
        alone = [t.detach().requires_grad_(i == j) for j, t in enumerate(operands)]

        def step():
            alone[i].grad = None
            (F.conv_transpose2d(*alone, 2) ** 2).sum().backward()
        step = fastnn.capture(step)
        for _ in range(3):
            step()
        assert [t.grad is not None for t in alone] == [i == j for j in range(3)]
        same_bits(alone[i].grad, whole.grad)
        done = {op for op, _ in step.operations()[0]}
        assert ("conv2d_fwd" in done, "conv2d_bwd_w" in done) == (i == 0, i == 1)


def test_not_finite(torch):
    """NaN and infinity reach what they meet, and nothing else; also where winograd.c must do it over."""
    rng = np.random.default_rng(0)
    for I, O, H, W, options in ((1, 3, 5, 6, {"stride": 2}), (5, 20, 7, 8, {}), (20, 18, 6, 7, {"padding": 1})):
        x, w = rng.standard_normal((2, I, H, W)), rng.standard_normal((I, O, 3, 3))
        x[0, 0, 4, 3], x[1, I - 1, 0, 0] = np.nan, np.inf
        y = F.conv_transpose2d(fastnn.tensor(x), fastnn.tensor(w), **options)
        np.testing.assert_allclose(y.numpy(), torch.nn.functional.conv_transpose2d(torch.tensor(x), torch.tensor(w), **options).numpy(), atol=1e-11)


# ---- layers and NumPy ------------------------------------------------------------------------------------------------------

LAYERS = [("ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1}), ("ConvTranspose2d", (4, 6, (3, 2), (2, 1), (1, 0), (1, 0), 2, False, (1, 2)), {}),
          ("ConvTranspose1d", (4, 6, 4, 2, 1), {}), ("ConvTranspose1d", (4, 2, 3), {"stride": 3, "output_padding": 2, "bias": False})]


@pytest.mark.parametrize("name, args, options", LAYERS, ids=str)
def test_layers(torch, name, args, options):
    """repr, state dict both ways, the spread of start values, result and gradients as PyTorch's."""
    ours, theirs = getattr(nn, name)(*args, **options).double(), getattr(torch.nn, name)(*args, **options).double()
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert [p.shape for p in ours.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    bound = 1 / np.sqrt(np.prod(ours.weight.shape[1:]))
    assert all(0.6 * bound < p.abs().max().item() <= bound for p in ours.parameters() if p.numel() > 8)
    ours.load_state_dict({k: fastnn.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 4, 7, 8) if "2d" in name else (2, 4, 9))
    y, want = ours(fastnn.tensor(x)), theirs(torch.tensor(x))
    (y ** 2).sum().backward(), (want ** 2).sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), atol=1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-10)


def test_output_size(torch):
    ours, theirs = (m.ConvTranspose2d(3, 2, 3, (2, 3), 1) for m in (nn, torch.nn))
    ours.load_state_dict({k: fastnn.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    for size in ((9, 16), (10, 18), [9, 17], (2, 2, 10, 16)):
        y, want = ours(fastnn.tensor(x), output_size=size), theirs(torch.tensor(x), output_size=list(size))
        np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), atol=1e-5)
        same_bits(ours(fastnn.tensor(x[0]), size[-2:]), y[0].contiguous())
    for size, words in (((8, 16), r"requested an output size of \[8, 16\], but valid sizes range from \[9, 16\] to \[10, 18\]"), ((9, 19), "valid sizes"),
                        ((9,), r"output_size must have 2 or 4 elements \(got 1\)")):
        with pytest.raises(ValueError, match=words):
            ours(fastnn.tensor(x), output_size=size)


@pytest.mark.parametrize("winograd", (True, False))
@pytest.mark.parametrize("layout, order", (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))))
def test_numpy_door(layout, order, winograd):
    rng = np.random.default_rng(0)
    for x_shape, w_shape, stride, padding in (((2, 5, 4, 6), (5, 3, 3, 4), 2, 1), ((1, 20, 9, 8), (20, 16, 3, 3), 1, 1)):
        x, w, b = (rng.standard_normal(n) for n in (x_shape, w_shape, w_shape[1:2]))
        shape = (x_shape[0], w_shape[1], *((n - 1) * stride + k - 2 * padding for n, k in zip(x_shape[2:], w_shape[2:])))
        given = {"stride": (stride,) * 2, "padding": (padding,) * 4}
        y = kernels.conv_transpose2d_forward(x.transpose(order), w, b, stride=stride, padding=padding, layout=layout, winograd=winograd)
        np.testing.assert_allclose(y, (ref.conv2d_bwd_x(x, w, shape, **given) + b[:, None, None]).transpose(order), atol=1e-11)
        dy = rng.standard_normal(shape)
        found = kernels.conv_transpose2d_backward(dy.transpose(order), x.transpose(order), w, stride=stride, padding=padding, layout=layout, winograd=winograd)
        wants = ref.conv2d_fwd(dy, w, **given).transpose(order), ref.conv2d_bwd_w(x, dy, w_shape, **given)[0], dy.sum((0, 2, 3))
        for got, want in zip(found, wants):
            np.testing.assert_allclose(got, want, atol=1e-10)
    out = np.empty_like(y)
    assert kernels.conv_transpose2d_forward(x.transpose(order), w, b, stride=stride, padding=padding, layout=layout, out=out, winograd=winograd) is out
    assert (out == y).all()
    with pytest.raises(RuntimeError, match=r"conv_transpose2d backward: dy.*does not fit the output \(1, 16, 9, 8\)"):
        kernels.conv_transpose2d_backward(dy[:, :, :-1], x, w, padding=1)


# ---- messages --------------------------------------------------------------------------------------------------------------

X, WEIGHT = (2, 3, 5, 6), (3, 4, 3, 3)
BAD = [
    ((X, (4, 4, 3, 3)), {}, RuntimeError, r"conv_transpose2d: input \(N,C_in,P,Q\)=\(2,3,5,6\), weight \(C_in,C_out/groups,R,S\)=\(4,4,3,3\).*C_in=3.*needs 4"),
    ((X, WEIGHT), {"groups": 2}, RuntimeError, "C_in=3, which groups=2 does not divide"),
    ((X, WEIGHT, (3,)), {}, RuntimeError, r"\(3,4,3,3\) with groups=1 needs a bias of shape \(4,\), but got bias \(3,\)"),
    ((X, WEIGHT, (4, 1)), {}, RuntimeError, r"bias \(4, 1\)"),
    ((X[2:], WEIGHT), {}, RuntimeError, r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv_transpose2d, but got input of size: \[5, 6\]"),
    ((X, WEIGHT[:3]), {}, RuntimeError, r"weight \(C_in,C_out/groups,R,S\) needs 4 dimensions, got \(3, 4, 3\)"),
    ((X, WEIGHT), {"stride": 0}, RuntimeError, "non-positive stride is not supported"),
    ((X, WEIGHT), {"padding": -1}, RuntimeError, "negative padding is not supported"),
    ((X, WEIGHT), {"dilation": 0}, RuntimeError, "non-positive dilation is not supported"),
    ((X, WEIGHT), {"groups": 0}, RuntimeError, "non-positive groups is not supported"),
    ((X, WEIGHT), {"output_padding": -1, "stride": 2}, RuntimeError, "negative output_padding is not supported"),
    ((X, WEIGHT), {"output_padding": 1}, RuntimeError, "output padding must be smaller than either stride or dilation.*output_padding=1, stride=1, dilation=1"),
    ((X, WEIGHT), {"output_padding": (0, 2), "stride": 2}, RuntimeError, r"output_padding=\(0, 2\), stride=2"),
    ((X, WEIGHT), {"padding": 4}, RuntimeError,
     r"Given input size per channel: \(3 x 5 x 6\). Calculated output size per channel: \(4 x -1 x 0\). Output size is too small"),
    ((X, WEIGHT), {"stride": (1, 1, 1)}, RuntimeError, r"expected stride to be a single integer value or a list of 2 values.*\[1, 1, 1\]"),
    ((X, WEIGHT), {"stride": 1.5}, TypeError, "stride must be an int or a tuple of 2 ints, got 1.5"),
    ((X, WEIGHT), {"padding": "same"}, TypeError, "padding must be an int"), ((X, WEIGHT), {"groups": True}, TypeError, "groups must be an int"),
    (((2, 3, 0, 6), WEIGHT), {}, RuntimeError, "1 or more"), ((X, (3, 4, 0, 3)), {}, RuntimeError, "1 or more"),
    ((X, WEIGHT), {"stride": 1 << 60}, RuntimeError, "too large a stride"), ((X, WEIGHT), {"stride": 1 << 39}, RuntimeError, "the output is too large"),
]


@pytest.mark.parametrize("shapes, options, error, words", BAD, ids=range(len(BAD)))
def test_bad_input(shapes, options, error, words):
    with pytest.raises(error, match=words):
        F.conv_transpose2d(*(fastnn.zeros(n) for n in shapes), **options)


def test_bad_types_and_layers():
    x, w = fastnn.zeros(X), fastnn.zeros(WEIGHT)
    for f, error, words in (
            (lambda: F.conv_transpose2d(x, w.double()), RuntimeError, "float32 and weight float64"),
                            (lambda: F.conv_transpose2d(x.int(), w.int()), NotImplementedError, "int32"),
            (lambda: F.conv_transpose2d(x, w, fastnn.zeros(4).double()), RuntimeError, "bias type"),
                            (lambda: F.conv_transpose2d([1.0], w), TypeError, "must be Tensor"),
            (lambda: F.conv_transpose1d(x, w[0]), RuntimeError, r"Expected 2D \(unbatched\) or 3D \(batched\) input to conv_transpose1d"),
            (lambda: F.conv_transpose1d(x[0], fastnn.zeros(5, 4, 3), output_padding=1), RuntimeError, "output padding.*conv_transpose1d: input"),
            (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), ValueError, 'Only "zeros" padding mode is supported for ConvTranspose2d'),
            (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
            (lambda: nn.ConvTranspose2d(4, 3, 3, groups=2), ValueError, "out_channels must be divisible by groups")):
        with pytest.raises(error, match=words):
            f()
