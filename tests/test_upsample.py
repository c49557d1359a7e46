"""csrc/upsample.c, the checked calls over it, interpolate (ops/upsample.py), the layer (nn/upsampling.py) and the NumPy door."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, captured_everywhere, compare, everywhere, laid_images, machine, same_bits
from fastnn import _core, kernels, nn
from fastnn.nn import functional as F

CONFIGS = 120
MODES = ("nearest", "nearest-exact", "bilinear", "corners")


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def kind(mode):
    return {"mode": "bilinear", "align_corners": True} if mode == "corners" else {"mode": mode}


class Config:
    """A random resampling: input, options and layouts."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        mode = MODES[seed % 4]
        C, long = pick(rng, 1, 2, 3, 6, 16, 17, 33, 70), rng.integers(2)
        self.shape = (int(rng.integers(1, 3)), 1 + C % 4 if long else C, int(rng.integers(1, 12)), int(rng.integers(1, 70 if long else 12)))
        if rng.integers(2):
            self.options = {"size": tuple(int(pick(rng, 1, n, 2 * n, 3 * n, rng.integers(1, 4 * n + 1))) for n in self.shape[2:])}
        else:
            self.options = {"scale_factor": tuple(pick(rng, *(s for s in (0.5, 1.5, 2.0, 3.0, 4.0, 2.3, 1.0) if int(n * s))) for n in self.shape[2:])}
            self.options |= {"recompute_scale_factor": True} if rng.integers(3) == 0 else {}
        self.options |= kind(mode)
        self.x, self.layouts = rng.standard_normal(self.shape), rng.integers(0, 3, 2)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_as_pytorch(torch, dtype):
    """Results and gradients of random resamplings; every instruction set, some number of threads, any layout of x and dy."""
    for seed in range(CONFIGS):
        c = Config(seed)
        exactly = c.options["mode"].startswith("nearest")
        kept = c.x.astype(np.float32 if exactly else float)               # which pixel is nearest, is found in float32
        theirs = torch.tensor(kept, requires_grad=True)
        want = torch.nn.functional.interpolate(theirs, **c.options)
        dy = c.rng.integers(-9, 10, tuple(want.shape)).astype(np.float32)                    # so that sums of nearest pixels are exact
        want.backward(torch.tensor(dy).to(want.dtype))
        each = max(1, dy.size / kept.size)                                # outputs of an input
        for isa in _core.isas():
            what = f"{c.shape} {c.options} layouts {c.layouts} {dtype} {isa}"
            with machine(isa, THREADS[seed % 4]):
                leaf = laid_images(kept.astype(dtype), c.layouts[0]).requires_grad_()
                y = F.interpolate(leaf, **c.options)
                y.backward(laid_images(dy.astype(dtype), c.layouts[1]))
            tol = 0 if exactly else 60                                    # of a place in the tens, theirs is rounded tens of times
            compare(y, want.detach().numpy().astype(float), dtype, tol, np.abs(kept).max(initial=0), what)
            compare(leaf.grad, theirs.grad.numpy().astype(float), dtype, tol, 4 * each * np.abs(dy).max(), what)


@pytest.mark.parametrize("mode", ("nearest", "nearest-exact"))
def test_the_pixel_chosen(torch, mode):
    """Of every ratio of small sizes, and of scale factors, the same pixel as PyTorch's."""
    sizes = [(n, {"size": m}) for n in range(1, 41, 3) for m in (*range(1, 90, 7), 2 * n, n)]
    scales = [(n, {"scale_factor": s}) for n in range(4, 60, 5) for s in (0.3, 0.7, 1 / 3, 1.04, 1.5, 2.3, 2.0, 3.0, 5.9)]
    for n, options in sizes + scales:
        x = np.arange(n, dtype=np.float32).reshape(1, 1, n)
        want = torch.nn.functional.interpolate(torch.tensor(x), mode=mode, **options)
        same_bits(F.interpolate(fastnn.tensor(x), mode=mode, **options), want.numpy(), f"{n} {options}")


@pytest.mark.parametrize("options", [{"scale_factor": 2}, {"size": 5, "mode": "linear"}, {"size": 40, "mode": "linear", "align_corners": True},
                                     {"scale_factor": 2.3, "mode": "linear"}, {"size": [7], "mode": "nearest-exact"},
                                     {"scale_factor": 0.5, "mode": "area"}], ids=str)
def test_lines_as_pytorch(torch, options):
    rng = np.random.default_rng(0)
    for n in ((2, 3, 17), (1, 1, 2), (2, 35, 9)):
        x = rng.standard_normal(n)
        leaf, theirs = fastnn.tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)
        y, want = F.interpolate(leaf, **options), torch.nn.functional.interpolate(theirs, **options)
        assert y.is_contiguous()
        compare(y, want.detach().numpy(), "float64", bound=4)
        (y * y).sum().backward(), (want * want).sum().backward()
        compare(leaf.grad, theirs.grad.numpy(), "float64", bound=99)
    turned = fastnn.tensor(x).permute(0, 2, 1).contiguous().permute(0, 2, 1)
    same_bits(F.interpolate(turned, **options), y)


def test_area_is_adaptive_average(torch):
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 9))
    for options in ({"size": (3, 4)}, {"scale_factor": (0.5, 1.5)}):
        y, want = (m.interpolate(a, mode="area", **options) for m, a in ((F, fastnn.tensor(x)), (torch.nn.functional, torch.tensor(x))))
        compare(y, want.numpy(), "float64", bound=3)


# ---- layouts, threads, capture ---------------------------------------------------------------------------------------

RATIOS = (((2, 3, 30, 41), (60, 82)), ((1, 19, 13, 9), (26, 27)), ((2, 2, 1, 1), (30, 45)), ((1, 5, 31, 90), (7, 11)), ((1, 4, 6, 300), (6, 7)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n, size", RATIOS, ids=str)
def test_same_bits_for_all_threads(mode, n, size):
    """1, 2, 3 and 7 threads on each instruction set; row-major and channels-last give the same bits, which mean what they should."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(s).astype(np.float32) for s in (n, (*n[:2], *size)))
    meant = mode.replace("bi", "")

    def run(layout):
        leaf = laid_images(x, layout).requires_grad_()
        y = F.interpolate(leaf, size, **kind(mode))
        y.backward(laid_images(dy, layout))
        return y, leaf.grad
    for rows, last in zip(everywhere(lambda: run(0)), everywhere(lambda: run(1))):
        same_bits(rows, last, "row-major against channels-last")
        compare(rows[0], ref.upsample_fwd(x.astype(float), size, meant), "float32", bound=ref.upsample_fwd(np.abs(x).astype(float), size, meant))
        compare(rows[1], ref.upsample_bwd(dy.astype(float), n, meant), "float32", tol=40, bound=ref.upsample_bwd(np.abs(dy).astype(float), n, meant))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("C", (1, 2, 19))
def test_results_take_the_layout_of_the_input(mode, C):
    x = fastnn.randn(2, C, 5, 6)
    for given, last in ((x, False), (_core.nhwc(x), C > 1), (x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), C > 1)):
        leaf = given.detach().requires_grad_()
        y = F.interpolate(leaf, scale_factor=2, **kind(mode))
        y.sum().backward()
        assert y.is_contiguous() and _core.is_nhwc(y) >= last and (C == 1 or leaf.grad.stride() == leaf.stride())
        same_bits(y, F.interpolate(given.contiguous().clone(), scale_factor=2, **kind(mode)))


@pytest.mark.parametrize("mode", MODES)
def test_captured(mode):
    """Between convolutions, by any number of threads: eager, captured, the same bits."""
    net = nn.Sequential(nn.Conv2d(3, 18, 3), nn.Upsample(scale_factor=2, **kind(mode)), nn.Conv2d(18, 2, 3))
    x = fastnn.randn(2, 3, 9, 8)

    def step(x):
        net.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        return loss.detach()
    assert {"upsample_fwd", "upsample_bwd"} <= captured_everywhere(step, list(net.parameters()), x)


# ---- values ----------------------------------------------------------------------------------------------------------

def test_nan_stays_where_it_is():
    """NaN in x reaches the outputs around it, NaN in dy the pixels that it was made of; infinity is no NaN where a size stays."""
    nan, inf = float("nan"), float("inf")
    for layout in (lambda x: x, _core.nhwc):
        for mode, near in (("nearest", 4), ("bilinear", 16)):
            x = fastnn.ones(1, 20, 6, 21)
            x[0, 1, 3, 5] = nan
            leaf = layout(x).requires_grad_()
            y = F.interpolate(leaf, scale_factor=2, **kind(mode))
            assert fastnn.isnan(y).sum().item() == near and fastnn.isnan(y[0, 1, 6:8, 10:12]).all()
            dy = fastnn.ones(*y.shape)
            dy[0, 3, 6, 10] = nan
            y.backward(layout(dy))
            assert fastnn.isnan(leaf.grad).sum().item() == (1 if near == 4 else 4) and fastnn.isnan(leaf.grad[0, 3, 3, 5]).item()
        x = layout(fastnn.full((1, 6, 3, 4), inf))
        assert (F.interpolate(x, (3, 9), mode="bilinear")[..., 1:] == inf).all() and (F.interpolate(x, (8, 4), mode="bilinear")[:, :, 1:] == inf).all()
        assert (F.interpolate(x, (3, 4), mode="bilinear") == inf).all() and (F.interpolate(x, (7, 9)) == inf).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("C", (1, 2, 20))
def test_nan_in_dy_reaches_what_it_was_made_of(mode, C, isa):
    """dy of weight 0 is not looked at: a NaN at each place in turn, an image each, spoils the pixels that gave to it and no other."""
    P, Q = 6, 10
    dy = np.ones((P * Q, C, P, Q), np.float32)
    dy[np.arange(P * Q), C - 1, np.arange(P * Q) // Q, np.arange(P * Q) % Q] = np.nan
    want = ref.upsample_bwd(np.isnan(dy).astype(float), (P * Q, C, 3, 5), mode.replace("bi", "")) != 0
    for layout in (0, 1):
        leaf = laid_images(np.zeros(want.shape, np.float32), layout).requires_grad_()
        F.interpolate(leaf, (P, Q), **kind(mode)).backward(laid_images(dy, layout))
        np.testing.assert_array_equal(np.isnan(leaf.grad.numpy()), want)


def test_the_end_of_a_long_row():
    """The last place, p + 1/2 in float32, is rounded to the row's end and still finds the last pixel."""
    x = fastnn.tensor([[[[7.0, 7.0, 9.0]]]])[..., :2]
    assert F.interpolate(x, (1, (1 << 23) + 2), mode="nearest-exact").eq(7).all()


def test_a_plane_stays_a_plane():
    """Linear weights reproduce h + 2 w between corners, and sum to 1 everywhere."""
    h, w = np.mgrid[:5, :7]
    x = fastnn.tensor((h + 2.0 * w)[None, None])
    P, Q = np.mgrid[:13, :10]
    np.testing.assert_allclose(F.interpolate(x, (13, 10), mode="bilinear", align_corners=True)[0, 0].numpy(), P * 4 / 12 + 2 * Q * 6 / 9, atol=1e-13)
    for options in ({"size": (13, 4)}, {"scale_factor": 2.3}):
        np.testing.assert_allclose(F.interpolate(fastnn.ones(1, 2, 5, 7), mode="bilinear", **options).numpy(), 1, rtol=1e-6)


# ---- layers and NumPy ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{"scale_factor": 2}, {"size": (5, 9), "mode": "bilinear"}, {"size": 4, "mode": "nearest-exact"},
                                     {"scale_factor": (2, 1.5), "mode": "bilinear", "align_corners": True},
                                     {"scale_factor": 1.6, "recompute_scale_factor": True}], ids=str)
def test_layer(torch, options):
    ours, theirs = (m.Upsample(**options) for m in (nn, torch.nn))
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7))
    compare(ours(fastnn.tensor(x)), theirs(torch.tensor(x)).numpy(), "float64", bound=3)


@pytest.mark.parametrize("mode", MODES)
def test_numpy_door(mode):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, 5, 6)), rng.standard_normal((2, 3, 11, 4))
    meant = mode.replace("bi", "")
    for layout, order in (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))):
        y, saved = kernels.interpolate_forward(x.transpose(order), size=(11, 4), layout=layout, **kind(mode))
        compare(y, ref.upsample_fwd(x, (11, 4), meant).transpose(order), "float64", bound=4)
        compare(kernels.interpolate_backward(dy.transpose(order), saved), ref.upsample_bwd(dy, x.shape, meant).transpose(order), "float64", bound=20)
        out = np.empty_like(y)
        assert kernels.interpolate_forward(x.transpose(order), size=(11, 4), layout=layout, out=out, **kind(mode))[0] is out and (out == y).all()
        scaled, _ = kernels.interpolate_forward(x.transpose(order), scale_factor=2, layout=layout, **kind(mode))
        compare(scaled, ref.upsample_fwd(x, (10, 12), meant).transpose(order), "float64", bound=4)
    with pytest.raises(RuntimeError, match=r"interpolate backward: dy \(N,C,P,Q\)"):
        kernels.interpolate_backward(dy[..., :1], saved)
    with pytest.raises(RuntimeError, match="four dimensions"):
        kernels.interpolate_forward(x[0], size=3)


# ---- bad input -------------------------------------------------------------------------------------------------------

X = fastnn.zeros(2, 3, 5, 6)
BAD = [
    (X, {}, ValueError, "either size or scale_factor should be defined"),
    (X, {"size": 3, "scale_factor": 2}, ValueError, "only one of size or scale_factor should be defined"),
    (X, {"size": (3,)}, ValueError, r"spatial dimensions of \[5, 6\] and output size of \(3,\)"),
    (X, {"scale_factor": (1, 2, 3)}, ValueError, r"Input and scale_factor must have the same number.*scale_factor of shape \(1, 2, 3\)"),
    (X, {"size": 2.5}, TypeError, "expected size to be one of int.*float"),
    (X, {"size": (True, 2)}, TypeError, "expected size.*bool"),
    (X, {"scale_factor": "2"}, TypeError, "scale_factor.*not str"),
    (X, {"size": 0}, RuntimeError, r"Input and output sizes should be greater than 0, but got input \(H: 5, W: 6\) output \(H: 0, W: 0\)"),
    (X, {"size": (4, -1)}, RuntimeError, r"output \(H: 4, W: -1\).*\(2, 3, 5, 6\)"),
    (X, {"scale_factor": 0.1}, RuntimeError, r"output \(H: 0, W: 0\)"),
    (X, {"scale_factor": float("nan")}, RuntimeError, "not finite"),
    (X[0], {"size": 0}, RuntimeError, r"input \(W: 6\) and output \(W: 0\).*\(N,C,L\)=\(3, 5, 6\)"),
    (X[:, :, :0], {"size": 3}, RuntimeError, r"input \(H: 0, W: 6\)"),
    (X[:, :0], {"size": 3}, RuntimeError, r"Non-empty 4D data tensor expected but got a tensor with sizes \(2, 0, 5, 6\)"),
    (X, {"size": 1 << 31}, RuntimeError, "too large"),
    (X, {"size": 3, "mode": "linear"}, NotImplementedError, "Got 4D input, but linear mode needs 3D input"),
    (X[0], {"size": 3, "mode": "bilinear"}, NotImplementedError, "Got 3D input, but bilinear mode needs 4D input"),
    (X, {"size": 3, "mode": "cubic"}, NotImplementedError, r"Only 3D, 4D and 5D input Tensors supported \(got 4D\).*\(got cubic\)"),
    (X[0, 0], {"size": ()}, NotImplementedError, r"\(got 2D\)"),
    (X[None], {"size": 3}, NotImplementedError, "mode='nearest' of 5D input.: not supported|5D input: not supported"),
    (X, {"size": 3, "mode": "bicubic"}, NotImplementedError, "mode='bicubic'.*not supported"),
    (X, {"size": 3, "mode": "bilinear", "antialias": True}, NotImplementedError, "antialias=True: not supported"),
    (X, {"size": 3, "antialias": True}, ValueError, "Anti-alias option is restricted"),
    (X, {"size": 3, "align_corners": False}, ValueError, "align_corners option can only be set"),
    (X, {"size": 3, "recompute_scale_factor": True}, ValueError, "not meaningful with an explicit size"),
    (X.int(), {"size": 3}, NotImplementedError, "interpolate.*int32"),
    ([[1.0]], {"size": 3}, TypeError, "must be Tensor, not list"),
]


@pytest.mark.parametrize("x, options, error, words", BAD, ids=range(len(BAD)))
def test_bad_input(x, options, error, words):
    with pytest.raises(error, match=words):
        F.interpolate(x, **options)
