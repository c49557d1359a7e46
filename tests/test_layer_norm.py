"""csrc/layer_norm.c, the checked calls over it, normalization.py: layer, RMS, group and instance normalisation."""
import numpy as np
import pytest

import fastnn
import ref
from check import compare, everywhere, same_bits
from fastnn import _core, kernels, nn
from fastnn.nn import functional as F

NAN, INF = float("nan"), float("inf")
REALS = ("float32", "float64")


def slope_bound(x, dy, w, axes):
    """What a rounding of dx is measured against: the sizes that its sums are made of."""
    u, rstd = np.abs(x - x.mean(axes, keepdims=True)), 1 / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    g = np.abs(dy * w)
    return rstd * (g + g.mean(axes, keepdims=True) + u * rstd * (g * u * rstd).mean(axes, keepdims=True)) * (1 + np.abs(x).max() * rstd)


# ---- the kernels -----------------------------------------------------------------------------------------------------

# Rows shorter than a vector, of odd lengths, longer than a block; one part and many, of whole and broken groups of rows.
ROWS = ((3, 1), (5, 3), (40, 17), (1000, 8), (1100, 70), (16, 256), (33, 130), (2, 4096), (3, 9001), (1, 30000))


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_rows_against_their_meaning(shape, dtype):
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape) * 2 + 3).astype(dtype), rng.standard_normal(shape).astype(dtype)
    w, b = (rng.standard_normal(shape[1:]).astype(dtype) for _ in range(2))
    X, DY, n = x.astype(float), dy.astype(float), shape[1:]
    for rms in (False, True):
        for weight, bias in ((w, b), (w, None), (None, b), (None, None)):
            t = [None if a is None else fastnn.tensor(a) for a in (x, weight, bias, dy)]

            def run():
                y, kept, stats = _core.layer_norm(t[0], n, t[1], t[2], 1e-5, rms)
                return (y, *_core.layer_norm_backward(t[3], kept, stats, t[1], n, rms))
            scale = 1.0 if weight is None else np.abs(w.astype(float))
            wants = ref.layer_norm_fwd(X, weight, bias, rms=rms), *ref.layer_norm_bwd(DY, X, weight, rms=rms)
            size = np.abs(ref.layer_norm_fwd(X, rms=rms))
            for y, dx, dw, db in everywhere(run):
                compare(y, wants[0], dtype, 12, (size + 2) * scale + (0 if bias is None else np.abs(b)))
                compare(dx, wants[1], dtype, 16, slope_bound(X, DY, scale, (1,)))
                compare(dw, wants[2], dtype, 12, ((size + 2) * np.abs(DY)).sum(0))
                compare(db, wants[3], dtype, 8, np.abs(DY).sum(0))


GROUPS = (((4, 6), 3), ((3, 6, 1, 2), 2), ((2, 8, 7, 7), 4), ((5, 3, 9, 11), 3), ((1, 4, 70, 70), 1), ((2, 600, 3, 5), 2),
          ((1, 36, 40, 41), 36), ((2, 2, 9001), 2), ((40, 40, 3), 20),
          ((2, 48, 50, 43), 4))                              # a sample's columns in several spans


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape, groups", GROUPS, ids=str)
def test_groups_against_their_meaning(shape, groups, dtype):
    rng, C = np.random.default_rng(0), shape[1]
    x, dy = (rng.standard_normal(shape) * 2 + 3).astype(dtype), rng.standard_normal(shape).astype(dtype)
    w, b = (rng.standard_normal(C).astype(dtype) for _ in range(2))
    X, DY = x.astype(float), dy.astype(float)
    rest = (0, *range(2, x.ndim))
    for weight, bias, last in ((w, b, False), (None, None, False), (w, b, True), (None, None, True))[:2 if x.ndim < 4 else 4]:
        t = [None if a is None else fastnn.tensor(a) for a in (x, weight, bias, dy)]
        t[0] = _core.nhwc(t[0]) if last else t[0]

        def run():
            y, kept, stats = _core.group_norm(t[0], groups, t[1], t[2], 1e-5)
            return (y, *_core.group_norm_backward(t[3], kept, stats, t[1]))
        each = np.ones((1, C) + (1,) * (x.ndim - 2)) if weight is None else np.abs(w.astype(float)).reshape((1, C) + (1,) * (x.ndim - 2))
        wants = ref.group_norm_fwd(X, groups, weight, bias), *ref.group_norm_bwd(DY, X, groups, weight)
        rows = shape[0], groups, -1
        bound = slope_bound(X.reshape(rows), (DY * each).reshape(rows), 1, (2,)).reshape(shape)
        size = np.abs(ref.group_norm_fwd(X, groups)) + (1 + np.abs(X).max() / np.sqrt(X.reshape(rows).var(2).min() + 1e-5))
        for y, dx, dw, db in everywhere(run):
            compare(y, wants[0], dtype, 12, size * each + (0 if bias is None else np.abs(b).max()))
            compare(dx, wants[1], dtype, 16, bound)
            compare(dw, wants[2], dtype, 16, (size * np.abs(DY)).sum(rest))
            compare(db, wants[3], dtype, 16, np.abs(DY).sum(rest))


@pytest.mark.parametrize("of", ["large", "jump", "outlier", "constant", "tremendous", "tiny"])
@pytest.mark.parametrize("n", [9, 300, 20000])
def test_statistics_keep_their_digits(of, n):
    """A mean that is large beside the deviations; a row that changes half-way; squares beyond the type's range."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, n))
    x = {"large": x + 1e4, "jump": x + 1e3 * (np.arange(n) > n // 2), "outlier": x + 1000, "constant": 0 * x + 0.1, "tremendous": x * 1e25,
         "tiny": x * 1e-25}[of].astype(np.float32)
    if of == "outlier":
        x[:, 0] = 0
    X = x.astype(float)
    for y, stats in everywhere(lambda: _core.layer_norm(fastnn.tensor(x), (n,), None, None, 1e-5)[::2]):
        mean, rstd = stats.numpy()[:, :, 0].astype(np.float32)
        compare(mean, X.mean(1), "float32", 1, np.abs(X.mean(1)) + X.std(1))
        compare(rstd, 1 / np.sqrt(X.var(1) + 1e-5), "float32", 8)
        compare(y, ref.layer_norm_fwd(X), "float32", 8, 2 + np.abs(ref.layer_norm_fwd(X)))
    for _, stats in everywhere(lambda: _core.layer_norm(fastnn.tensor(x), (n,), None, None, 1e-5, True)[::2]):
        compare(stats.numpy()[1, :, 0].astype(np.float32), 1 / np.sqrt((X * X).mean(1) + 1e-5), "float32", 8)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("of, scale, shift", [("large", 1, 1e4), ("tremendous", 1e25, 0), ("tiny", 1e-25, 0)])
@pytest.mark.parametrize("shape, groups", [((3, 6, 5, 7), 2), ((2, 40, 50, 43), 4)])
def test_statistics_of_groups_keep_their_digits(shape, groups, of, scale, shift, last):
    x = (np.random.default_rng(1).standard_normal(shape) * scale + shift).astype(np.float32)
    t, X = fastnn.tensor(x), x.astype(float).reshape(shape[0] * groups, -1)
    t = _core.nhwc(t) if last else t
    for y, stats in everywhere(lambda: _core.group_norm(t, groups, None, None, 1e-5)[::2]):
        mean, rstd = stats.numpy().reshape(2, -1).astype(np.float32)
        compare(mean, X.mean(1), "float32", 1, np.abs(X.mean(1)) + X.std(1))
        compare(rstd, 1 / np.sqrt(X.var(1) + 1e-5), "float32", 8)
        compare(y, ref.group_norm_fwd(x.astype(float), groups), "float32", 8, 2 + np.abs(ref.group_norm_fwd(x.astype(float), groups)))


@pytest.mark.parametrize("kind", ["layer", "rms", "group", "group, channels last"])
def test_gradients_keep_their_digits(kind):
    """A mean of 2^20 beside deviations of some 20: the rounding of the mean itself, up to 1/32, must not show in dx."""
    rng, shape = np.random.default_rng(1), (5, 6, 7, 9)
    x = (2.0 ** 20 + np.round(rng.standard_normal(shape) * 160) / 8).astype(np.float32)
    dy = rng.standard_normal(shape).astype(np.float32)
    t, X, DY = fastnn.tensor(x), x.astype(float).reshape(5, -1), dy.astype(float).reshape(5, -1)
    rms = kind == "rms"
    if kind in ("layer", "rms"):
        def run():
            _, kept, stats = _core.layer_norm(t, shape[1:], None, None, 1e-5, rms)
            return _core.layer_norm_backward(fastnn.tensor(dy), kept, stats, None, shape[1:], rms)[:1]
        want = ref.layer_norm_bwd(DY, X, rms=rms)[0]
    else:
        t = _core.nhwc(t) if "last" in kind else t

        def run():
            _, kept, stats = _core.group_norm(t, 1, None, None, 1e-5)
            return _core.group_norm_backward(fastnn.tensor(dy), kept, stats, None)[:1]
        want = ref.group_norm_bwd(dy.astype(float), x.astype(float), 1)[0].reshape(5, -1)
    scale = 1 / np.sqrt((X * X if rms else (X - X.mean(1, keepdims=True)) ** 2).mean(1, keepdims=True))
    for dx, in everywhere(run):
        compare(dx.numpy().reshape(5, -1), want, "float32", 8, scale * (1 + np.abs(DY).max()))


def test_not_finite():
    """A NaN or an infinity takes its row along and no other."""
    for bad in (NAN, INF, -INF):
        for n in (5, 300, 9000):
            x = np.random.default_rng(0).standard_normal((4, n)).astype(np.float32)
            x[2, -1] = bad
            y = F.layer_norm(fastnn.tensor(x), (n,)).numpy()
            assert np.isnan(y[2]).all() and np.isfinite(y[[0, 1, 3]]).all()
            for image in (fastnn.tensor(x.reshape(4, 1, n)), _core.nhwc(fastnn.tensor(np.repeat(x, 2).reshape(4, n, 1, 2)).permute(0, 3, 1, 2))):
                y = F.group_norm(image, 1).numpy()
                assert np.isnan(y[2]).all() and np.isfinite(y[[0, 1, 3]]).all()
            y = F.rms_norm(fastnn.tensor(x), (n,)).numpy()
            assert np.isnan(y[2, -1]) and np.isfinite(y[[0, 1, 3]]).all()


def test_gradients_only_where_needed():
    calls = (lambda x, w, b: F.layer_norm(x, (4,), w, b), lambda x, w, b: F.group_norm(x, 2, w, b))
    x, w, b = fastnn.randn(9, 4), fastnn.randn(4), fastnn.randn(4)
    for f in calls:
        whole = [t.detach().requires_grad_() for t in (x, w, b)]
        f(*whole).sum().backward()
        for needs in ((True, False, False), (False, True, False), (False, False, True), (False, True, True), (False, False, False)):
            leaves = [t.detach().requires_grad_(n) for t, n in zip((x, w, b), needs)]
            y = f(*leaves)
            assert y.requires_grad == any(needs)
            if any(needs):
                y.sum().backward()
            assert [t.grad is not None for t in leaves] == list(needs)
            same_bits([t.grad for t in leaves if t.grad is not None], [t.grad for t, n in zip(whole, needs) if n])


def test_nothing():
    for m, shape in ((nn.LayerNorm(3), (0, 3)), (nn.RMSNorm(3), (2, 0, 3)), (nn.GroupNorm(2, 4), (0, 4, 5)), (nn.InstanceNorm2d(3, affine=True), (0, 3, 2, 2))):
        x = fastnn.zeros(shape, requires_grad=True)
        y = m(x)
        y.sum().backward()
        assert y.shape == x.grad.shape == x.shape and not any(p.grad.any() for p in m.parameters())
    assert F.layer_norm(fastnn.zeros(2, 0), (0,)).shape == (2, 0) and F.group_norm(fastnn.zeros(2, 0, 3), 1).shape == (2, 0, 3)


def test_images_stay_channels_last():
    x = fastnn.randn(2, 6, 4, 5)
    for f in (lambda t: F.group_norm(t, 3), F.instance_norm):
        want = f(x)
        t = _core.nhwc(x).requires_grad_()
        y = f(t)
        assert _core.is_nhwc(y) and y.is_contiguous()
        np.testing.assert_allclose(y.detach().numpy(), want.numpy(), rtol=1e-5, atol=1e-6)
        y.backward(_core.nhwc(fastnn.ones(2, 6, 4, 5)))
        assert t.grad.shape == x.shape
        cut = fastnn.randn(2, 6, 4, 10)[..., ::2]
        np.testing.assert_allclose(f(cut).numpy(), f(cut.contiguous()).numpy(), rtol=1e-5, atol=1e-6)


# ---- against PyTorch -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", REALS)
def test_as_pytorch(torch, dtype, isa):
    """Random configurations: y, all gradients, running statistics."""
    rng, room = np.random.default_rng(len(isa)), {"float32": 3e-5, "float64": 1e-11}[dtype]
    for trial in range(100):
        kind = ("layer", "rms", "group", "instance")[trial % 4]
        shape = [int(rng.integers(1, 7)), int(rng.choice([4, 6, 16, 36]))] + [int(rng.choice([3, 5, 8, 14])) for _ in range(rng.integers(1, 3))]
        n = shape[1:2] if kind in ("group", "instance") else shape[len(shape) - int(rng.integers(1, len(shape))):]
        x, dy = (rng.standard_normal(shape) * 2 + rng.choice([0, 3])).astype(dtype), rng.standard_normal(shape).astype(dtype)
        w, b = (rng.standard_normal(n).astype(dtype) if rng.integers(4) and not (kind == "rms" and i) else None for i in range(2))
        b = None if kind == "group" and w is None else b     # which PyTorch's backward does not take
        mean, var = (rng.uniform(0.5, 2, n).astype(dtype) if kind == "instance" and trial % 8 == 7 else None for _ in range(2))
        groups, eps, own = int(rng.choice([g for g in (1, 2, 4, 6) if shape[1] % g == 0])), float(rng.choice([1e-2, 1e-5])), bool(mean is None or trial % 3)
        turned, results = rng.integers(3), []
        for lib in (torch, fastnn):
            f = lib.nn.functional
            X, W, B, M, V, DY = (None if a is None else lib.tensor(a) for a in (x, w, b, mean, var, dy))
            if turned and lib is fastnn:
                X = _core.nhwc(X) if X.dim() == 4 and turned == 1 else fastnn.tensor(np.ascontiguousarray(x.T)).permute(*reversed(range(x.ndim)))
            leaves = [t.requires_grad_() for t in (X, W, B) if t is not None]
            y = {"layer": lambda: f.layer_norm(X, n, W, B, eps), "rms": lambda: f.rms_norm(X, n, W, None if eps == 1e-5 else eps),
                 "group": lambda: f.group_norm(X, groups, W, B, eps), "instance": lambda: f.instance_norm(X, M, V, W, B, own, 0.3, eps)}[kind]()
            y.backward(DY)
            results.append([v.detach().numpy() for v in (y, *[t.grad for t in leaves], M, V) if v is not None])
        for got, want in zip(*reversed(results), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=room, atol=room * max(1, np.abs(want).max()), err_msg=f"trial {trial} {kind} {shape} {n}")


LAYERS = [lambda m: m.LayerNorm(5), lambda m: m.LayerNorm((4, 5), eps=1e-2, bias=False), lambda m: m.LayerNorm([5], elementwise_affine=False),
          lambda m: m.RMSNorm(5), lambda m: m.RMSNorm((4, 5), eps=1e-3, elementwise_affine=False), lambda m: m.GroupNorm(2, 6),
          lambda m: m.GroupNorm(3, 6, affine=False), lambda m: m.InstanceNorm2d(6), lambda m: m.InstanceNorm2d(6, affine=True, track_running_stats=True),
          lambda m: m.InstanceNorm2d(6, momentum=0.4, track_running_stats=True), lambda m: m.GroupNorm(2, 6, bias=False),
          lambda m: m.InstanceNorm2d(6, affine=True, bias=False)]


@pytest.mark.parametrize("make", LAYERS)
def test_layers_as_pytorch(torch, make):
    """Two batches in training, one in evaluation; state and text."""
    try:
        theirs = make(torch.nn)
    except TypeError:
        pytest.skip("this PyTorch has no such option")
    ours, rng = make(nn), np.random.default_rng(0)
    assert repr(ours) == repr(theirs) or "bias" not in repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for training in (True, True, False):
        x, results = rng.standard_normal((3, 6, 4, 5)).astype(np.float32) * 2, []
        for m, lib in ((ours, fastnn), (theirs, torch)):
            t = lib.tensor(x).requires_grad_()
            m.train(training)(t).sigmoid().sum().backward()
            results.append([t.grad.numpy(), *[p.grad.numpy() for p in m.parameters()], *[v.numpy() for v in m.state_dict().values()]])
        for got, want in zip(*results, strict=True):
            assert got.dtype == want.dtype and got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=3e-6)


# ---- the layers ------------------------------------------------------------------------------------------------------

def test_captured_steps_leave_what_eager_ones_leave():
    rng, ends = np.random.default_rng(0), []
    batches = [rng.standard_normal((4, 6, 5, 5)).astype(np.float32) for _ in range(6)]
    for captured in (False, True):
        m = nn.Sequential(nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True, track_running_stats=True), nn.LayerNorm((5, 5)), nn.RMSNorm(5))
        optimizer = fastnn.optim.SGD(m.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            y = m(x)
            (y * y * y).sum().backward()
            optimizer.step()
            return y
        run, history = fastnn.capture(step) if captured else step, []
        for x in batches:
            history += [run(fastnn.tensor(x)).detach().clone(), *[v.clone() for v in m.state_dict().values()], *[p.grad.clone() for p in m.parameters()]]
        assert not captured or run.replays >= 3
        ends.append(history)
    same_bits(*ends)


def test_image_without_a_batch():
    m, x = nn.InstanceNorm2d(3), fastnn.randn(3, 4, 5)
    same_bits(m(x), m(x.unsqueeze(0))[0])


def test_changed_in_place_is_noticed():
    w = fastnn.ones(3, requires_grad=True)
    for f in (lambda x: F.layer_norm(x, (3,), w), lambda x: F.group_norm(x, 1, w), lambda x: F.rms_norm(x, (3,), w)):
        y = f(fastnn.randn(4, 3) * 1)
        with fastnn.no_grad():
            w.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


Z = fastnn.zeros
BAD = [
    (lambda: F.layer_norm(Z(2, 3), ()), RuntimeError, "at least 1-dimensional"),
    (lambda: F.layer_norm(Z(2, 3), (4,)), RuntimeError, r"normalized_shape=\[4\], expected input with shape \[\*, 4\], but got input of size\[2, 3\]"),
    (lambda: F.layer_norm(Z(3), (2, 3)), RuntimeError, r"\[\*, 2, 3\]"),
    (lambda: F.layer_norm(Z(2, 3), 3), TypeError, "normalized_shape.*int"),
    (lambda: F.layer_norm(Z(2, 3), (3,), Z(4)), RuntimeError, r"weight to be of same shape as normalized_shape.*\[4\].*\[3\]"),
    (lambda: F.layer_norm(Z(2, 3), (3,), None, Z(1, 3)), RuntimeError, r"bias to be of same shape.*\[1, 3\]"),
    (lambda: F.layer_norm(Z(2, 3).long(), (3,)), NotImplementedError, '"layer_norm" not implemented for'),
    (lambda: F.layer_norm(Z(2, 3), (3,), Z(3).double()), RuntimeError, "mixed dtype.*float32.*weight is float64"),
    (lambda: F.layer_norm([[1.0]], (1,)), TypeError, "input.*list"),
    (lambda: F.layer_norm(Z(2, 3), (3,), eps="a"), TypeError, "eps.*str"),
    (lambda: nn.LayerNorm("a"), TypeError, "str"),
    (lambda: F.rms_norm(Z(2, 3), (4,)), RuntimeError, r"rms_norm: .*\(2, 3\) are not \(4,\)"),
    (lambda: F.rms_norm(Z(2, 3), (3,), Z(4)), RuntimeError, "weight to be of same shape"),
    (lambda: F.rms_norm(Z(2, 3).long(), (3,)), NotImplementedError, '"rms_norm" not implemented'),
    (lambda: F.group_norm(Z(3), 1), RuntimeError, "at least 2 dimensions.*received 1"),
    (lambda: F.group_norm(Z(2, 3), 2), RuntimeError, r"divisible by num_groups.*\[2, 3\] and num_groups=2"),
    (lambda: F.group_norm(Z(2, 3), 0), RuntimeError, "greater than 0, got 0"),
    (lambda: F.group_norm(Z(2, 4, 3), 2, Z(3)), RuntimeError, r"weight of shape \[3\] and input of shape \[2, 4, 3\]"),
    (lambda: F.group_norm(Z(2, 4, 3), 2, None, Z(4, 1)), RuntimeError, r"bias of shape \[4, 1\]"),
    (lambda: F.group_norm(Z(1, 2), 2), ValueError, r"more than 1 value per channel.*\[1, 2\]"),
    (lambda: F.group_norm(Z(2, 4).long(), 2), NotImplementedError, '"group_norm" not implemented'),
    (lambda: F.group_norm(Z(2, 4), 2.0), TypeError, "num_groups.*float"),
    (lambda: nn.GroupNorm(3, 4), ValueError, r"num_channels \(4\) must be divisible by num_groups \(3\)"),
    (lambda: F.instance_norm(Z(2, 3)), ValueError, "more than 1 spatial element"),
    (lambda: F.instance_norm(Z(2, 3, 1)), ValueError, r"more than 1 spatial element.*\[2, 3, 1\]"),
    (lambda: F.instance_norm(Z(2, 3, 4), Z(3)), ValueError, "both be None or neither"),
    (lambda: F.instance_norm(Z(2, 3, 4), use_input_stats=False), RuntimeError, "defined when use_input_stats is false"),
    (lambda: F.instance_norm(Z(2, 3, 4), weight=Z(4)), RuntimeError, r"weight should contain 3 elements not 4.*\(2, 3, 4\)"),
    (lambda: F.instance_norm(Z(2, 3, 4).double(), weight=Z(3)), RuntimeError, "mixed dtype"),
    (lambda: nn.InstanceNorm2d(3)(Z(2, 3)), ValueError, r"expected 3D or 4D input \(got 2D input\)"),
    (lambda: nn.InstanceNorm2d(3, affine=True)(Z(2, 4, 5, 5)), ValueError, r"dim=1 to match num_features \(3\), but got: 4"),
    (lambda: _core.layer_norm_backward(Z(2, 4), *_core.layer_norm(Z(2, 3), (3,), None, None, 1)[1:], None, (3,)), RuntimeError, r"\(2, 4\).*\(2, 3\)"),
    (lambda: kernels.group_norm_forward(np.zeros((2, 4)), num_groups=3), RuntimeError, "num_groups=3"),
    (lambda: kernels.layer_norm_forward([1.0]), TypeError, "x: expected a NumPy array")]


@pytest.mark.parametrize("call, kind, words", BAD)
def test_messages(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_channels_that_do_not_count_are_warned_of():
    with pytest.warns(UserWarning, match="num_features"):
        nn.InstanceNorm2d(3)(fastnn.zeros(2, 4, 5, 5))


# ---- the NumPy-level door --------------------------------------------------------------------------------------------

def test_kernels():
    rng = np.random.default_rng(0)
    x, dy, w, b = (rng.standard_normal(s) for s in ((2, 6, 4, 5), (2, 6, 4, 5), (4, 5), (4, 5)))
    for rms in (False, True):
        k = ("rms" if rms else "layer") + "_norm_"
        given = (w,) if rms else (w, b)
        y, saved = getattr(kernels, k + "forward")(x, *given, eps=1e-5)
        np.testing.assert_allclose(y, ref.layer_norm_fwd(x, *given, k=2, rms=rms), rtol=1e-11, atol=1e-12)
        grads = getattr(kernels, k + "backward")(dy, saved)
        assert len(grads) == 1 + len(given)
        for got, want in zip(grads, ref.layer_norm_bwd(dy, x, w, k=2, rms=rms)):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)
        out = np.empty_like(x)
        assert getattr(kernels, k + "forward")(x, out=out)[0] is out
        assert getattr(kernels, k + "forward")(x, normalized_shape=(6, 4, 5))[0].shape == x.shape
    w, b = rng.standard_normal(6), rng.standard_normal(6)
    for groups in (3, 6):
        k, options = ("instance_norm_", {}) if groups == 6 else ("group_norm_", {"num_groups": groups})
        for layout, turn in (("NCHW", lambda a: a), ("NHWC", lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)))):
            y, saved = getattr(kernels, k + "forward")(turn(x), w, b, layout=layout, **options)
            np.testing.assert_allclose(y, turn(ref.group_norm_fwd(x, groups, w, b)), rtol=1e-11, atol=1e-12)
            dx, dw, db = getattr(kernels, k + "backward")(turn(dy), saved)
            for got, want in zip((dx, dw, db), ref.group_norm_bwd(dy, x, groups, w)):
                np.testing.assert_allclose(got, turn(want) if got.ndim == 4 else want, rtol=1e-9, atol=1e-11)
            assert y.flags.c_contiguous and dx.shape == turn(x).shape
