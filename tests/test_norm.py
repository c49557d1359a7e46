"""csrc/norm.c, the checked calls over it, batchnorm.py and the dropout of channels."""
import copy
import warnings

import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, everywhere, machine, same_bits
from fastnn import _core, kernels, nn
from fastnn.nn import functional as F

NAN, INF = float("nan"), float("inf")
REALS = ("float32", "float64")
# Columns of all widths, folded and in strips; lines short, joined and cut; one part and many; one row, one channel.
SHAPES = ((2, 3), (300, 10), (5000, 3), (40, 513), (64, 1, 7), (33, 20, 49), (9, 3, 64), (3, 2, 5000), (1, 1, 9000), (20, 4, 10, 10), (2, 100, 3, 3),
          (3, 16, 12, 12), (1, 5, 1, 2), (6, 6, 28, 28))


def laid(a, layout):
    """A tensor of the array's values: row-major, tagged channels-last, or neither."""
    t = fastnn.tensor(a)
    if layout == "last" and a.ndim == 4:
        return _core.nhwc(t)
    return fastnn.tensor(np.ascontiguousarray(a.T)).permute(*reversed(range(a.ndim))) if layout == "turned" else t


def tagged(t):
    """Is t of a layer's channels-last layout? (Of several channels and pixels.)"""
    return t.dim() == 4 and _core.is_nhwc(t) and t.is_contiguous()


# ---- the kernels -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_its_meaning(shape, dtype):
    """Both ways through memory, batch's and running statistics, with and without relu: y, gradients, running statistics."""
    rng, C = np.random.default_rng(0), shape[1]
    x, dy = (rng.standard_normal(shape) * 2 + 3).astype(dtype), rng.standard_normal(shape).astype(dtype)
    w, b, mean, var = (a.astype(dtype) for a in (rng.standard_normal(C), rng.standard_normal(C), rng.standard_normal(C), rng.uniform(0.5, 2, C)))
    W, B, M, V = (fastnn.tensor(a) for a in (w, b, mean, var))
    X, DY, axes, n = x.astype(float), dy.astype(float), (0, *range(2, x.ndim)), x.size // C
    each = {"row": dtype == "float32", "last": True, "turned": len(shape) < 4}
    for layout in [k for k, wanted in each.items() if wanted]:
        for train in (True, False):
            for act, kind in ((0, "none"), (1, "relu")):
                def run():
                    moved = M.clone(), V.clone()
                    y, kept, stats = _core.batch_norm(laid(x, layout), *moved, W, B, train, 0.25, 1e-3, None, act)
                    assert tagged(y) == (layout == "last" and x.ndim == 4)
                    return (y, *_core.batch_norm_backward(laid(dy, layout), kept, stats, W, train, act=act, b=B), *moved)
                stats = () if train else (mean.astype(float), var.astype(float))
                want = ref.batch_norm_eval(X, *stats, w, b, 1e-3, kind) if stats else ref.batch_norm_fwd(X, w, b, 1e-3, kind)
                rstd = (1 / np.sqrt((V.numpy() if stats else X.var(axes)) + 1e-3)).max()
                for y, dx, dw, db, moved_mean, moved_var in everywhere(run):
                    rounds = 8 + n ** 0.5 / 2
                    compare(y, want, dtype, 8 if dtype == "float32" else rounds, np.abs(want) + np.abs(x).max() * rstd)   # NumPy's sums round too
                    through = np.where(y.numpy() > 0, DY, 0) if act else DY
                    wants = ref.batch_norm_bwd(through, X, w, 1e-3, *stats)
                    compare(dx, wants[0], dtype, rounds, np.abs(dy).max() * np.abs(w).max() * rstd
                            * (1 + np.abs(X - X.mean(axes, keepdims=True)).max() * rstd) ** 2)
                    compare(dw, wants[1], dtype, rounds, (np.abs(x).max() + 1) * rstd * np.abs(DY).sum(axes))
                    compare(db, wants[2], dtype, rounds, np.abs(DY).sum(axes))
                    change = 0.25 if train else 0
                    compare(moved_mean, mean + change * (X.mean(axes) - mean), dtype, 4, np.abs(x).max())
                    compare(moved_var, var + change * (X.var(axes) * n / (n - 1) - var), dtype, 8, X.var(axes) + 2)


@pytest.mark.parametrize("shape", [(4000, 7), (64, 3, 20, 20), (5, 3, 9000), (3, 2, 30, 40)], ids=str)
@pytest.mark.parametrize("of", ["large", "jump", "outlier", "constant", "tremendous", "tiny"])
def test_statistics_keep_their_digits(of, shape):
    """A mean that is large beside the deviations; rows that begin elsewhere; squares beyond the type's range."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    x = {"large": x + 1e4, "jump": x + 1e3 * (np.arange(shape[0]) > 40).reshape((-1,) + (1,) * (x.ndim - 1)), "outlier": x + 1000, "constant": 0 * x + 0.1,
         "tremendous": x * 1e25, "tiny": x * 1e-25}[of].astype(np.float32)
    if of == "outlier":
        x[0, :] = 0
    X, axes = x.astype(float), (0, *range(2, x.ndim))
    for y, stats in everywhere(lambda: _core.batch_norm(fastnn.tensor(x), None, None, None, None, True, 0.1, 1e-5)[::2]):
        compare(stats.numpy()[0].astype(np.float32), X.mean(axes), "float32", 1, np.abs(X.mean(axes)) + 0.1 * X.std(axes))
        compare(stats.numpy()[1].astype(np.float32), 1 / np.sqrt(X.var(axes) + 1e-5), "float32", 8)
        compare(y, ref.batch_norm_fwd(X), "float32", 8, 2 + np.abs(ref.batch_norm_fwd(X)))


def test_relu_masks_where_it_was_zero():
    """Backward finds the sign of y anew: at an edge it must be the very one. NaN passes, as in relu's own backward."""
    x = fastnn.randn(200, 24)
    x[5, 3] = NAN
    w, b, dy = fastnn.randn(24), fastnn.randn(24), fastnn.randn(200, 24)
    for isa in _core.isas():
        with machine(isa):
            y, kept, stats = _core.batch_norm(x, None, None, w, b, True, 0.1, 1e-5, None, 1)
            plain = fastnn.relu(_core.batch_norm(x, None, None, w, b, True, 0.1, 1e-5)[0])
            same_bits(y, plain)
            fused = _core.batch_norm_backward(dy, kept, stats, w, True, act=1, b=b)
            same_bits(fused, _core.batch_norm_backward(_core.relu_backward(dy, y), kept, stats, w, True))


@pytest.mark.parametrize("shape", [(200, 24), (5, 3, 700), (9, 17, 4, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_residual_is_added_before_the_activation(dtype, shape):
    """The bits of one after another; the result may take the residual's place."""
    x, r = fastnn.randn(*shape).to(getattr(fastnn, dtype)), fastnn.randn(*shape).to(getattr(fastnn, dtype))
    one = fastnn.ones(shape[1], dtype=x.dtype)
    for isa in _core.isas():
        for layout in ("row", "last"):
            for train in (True, False):
                for act in (0, 1):
                    with machine(isa, threads=3):
                        a, b = laid(x.numpy(), layout), laid(r.numpy(), layout)
                        y = _core.batch_norm(a, one * 0.1, one * 2, one * 3, one, train, 0.1, 1e-5, None, act, b)[0]
                        plain = _core.batch_norm(a, one * 0.1, one * 2, one * 3, one, train, 0.1, 1e-5)[0] + b
                        same_bits(y, fastnn.relu(plain) if act else plain)
    with pytest.raises(RuntimeError, match="residual"):
        _core.batch_norm(x, one, one, one, one, True, 0.1, 1e-5, None, 0, r[1:])


def test_not_finite():
    """A NaN or an infinity takes its channel along and no other."""
    for bad, mean in ((NAN, NAN), (INF, INF), (-INF, -INF)):
        for shape, layout in (((300, 4), "row"), ((40, 4, 9, 9), "row"), ((40, 4, 9, 9), "last"), ((3, 4, 2, 2), "row")):
            x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            x[-1, 2] = bad
            running = fastnn.zeros(4), fastnn.ones(4)
            y = F.batch_norm(laid(x, layout), *running, training=True).numpy()
            assert np.isnan(y[:, 2]).all() and np.isfinite(y[:, [0, 1, 3]]).all()
            assert np.array_equal(running[0].numpy()[2], mean, equal_nan=True) and np.isnan(running[1].numpy()[2])
            assert np.isfinite(running[0].numpy()[[0, 1, 3]]).all()


def test_gradients_only_where_needed():
    x, w, b, mean, var = fastnn.randn(9, 4), fastnn.randn(4), fastnn.randn(4), fastnn.randn(4), fastnn.ones(4)
    for training in (True, False):
        for needs in ((True, False, False), (False, True, False), (False, False, True), (False, True, True), (False, False, False)):
            leaves = [t.detach().requires_grad_(n) for t, n in zip((x, w, b), needs)]
            y = F.batch_norm(leaves[0], mean, var, *leaves[1:], training)
            assert y.requires_grad == any(needs)
            if any(needs):
                y.sum().backward()
            assert [t.grad is not None for t in leaves] == list(needs)


def test_frozen_input_of_infinities_keeps_its_gradient():
    """By running statistics dx does not depend on x."""
    x = fastnn.tensor([[INF], [1.0]]).requires_grad_()
    F.batch_norm(x, fastnn.zeros(1), fastnn.ones(1), eps=0.0).sum().backward()
    assert x.grad.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)], ids=str)
def test_nothing(shape):
    m = nn.BatchNorm1d(3) if len(shape) < 4 else nn.BatchNorm2d(3)
    x = fastnn.zeros(shape, requires_grad=True)
    y = m(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == x.shape
    assert m.weight.grad.tolist() == m.bias.grad.tolist() == m.running_mean.tolist() == [0, 0, 0]
    assert m.running_var.tolist() == [1, 1, 1] and m.num_batches_tracked.item() == 1


def test_a_batch_counts_once_for_a_whole_team():
    m, x = nn.BatchNorm2d(40), fastnn.randn(8, 40, 9, 9)
    for i, _ in enumerate(everywhere(lambda: [m(x)])):
        assert m.num_batches_tracked.item() == (i + 1) * len(THREADS)


@pytest.mark.parametrize("dtype, shape", [("float32", (11, 16, 140, 140)), ("float32", (120, 16, 43, 43)), ("float32", (900, 16, 16, 16)),
                                          ("float64", (70, 16, 40, 40))], ids=str)
def test_larger_than_caches(dtype, shape):
    """One and two threads take 16 channels one after the other, three and seven all lines in turn: each batch counts once, and bits are the same."""
    rng, C, axes = np.random.default_rng(0), shape[1], (0, 2, 3)
    x, dy = rng.standard_normal(shape, np.float32).astype(dtype), rng.standard_normal(shape, np.float32).astype(dtype)
    w, b = rng.standard_normal((2, C, 1, 1)).astype(dtype)
    X, DY = fastnn.tensor(x, requires_grad=True), fastnn.tensor(dy)
    m = nn.BatchNorm2d(C, momentum=None).to(getattr(fastnn, dtype))
    with fastnn.no_grad():
        m.weight.copy_(fastnn.tensor(w.ravel()))
        m.bias.copy_(fastnn.tensor(b.ravel()))
    fresh = copy.deepcopy(m.state_dict())

    def run():
        m.load_state_dict(fresh)
        for leaf in (X, m.weight, m.bias):
            leaf.grad = None
        y = F.relu(m(X))
        y.backward(DY)
        assert m.num_batches_tracked.item() == 1
        return y.detach(), X.grad, m.weight.grad, m.bias.grad, m.running_mean.clone(), m.running_var.clone()
    want = ref.batch_norm_fwd(x, w.ravel(), b.ravel(), 1e-5, "relu")
    for y, dx, dw, db, running_mean, running_var in everywhere(run):
        compare(y, want, dtype, 8, 8)
        wants = ref.batch_norm_bwd(np.where(y.numpy() > 0, dy, 0), x, w.ravel(), 1e-5)
        sums = np.abs(dy).sum(axes)
        for got, g, bound in ((dx, wants[0], 40), (dw, wants[1], 4 * sums), (db, wants[2], sums), (running_mean, x.mean(axes, float), 1),
                              (running_var, x.astype(float).var(axes, ddof=1), 1)):
            compare(got, g, dtype, 8, bound)


def test_results_lie_as_the_input():
    x = fastnn.randn(2, 3, 4, 5)
    dy = fastnn.randn(2, 3, 4, 5)
    for t, last in ((x, False), (_core.nhwc(x), True), (fastnn.randn(2, 3, 4, 10)[..., ::2], True)):
        t = t.detach().requires_grad_()
        y = F.batch_norm(t, None, None, training=True)
        assert tagged(y) == last and y.is_contiguous()
        for g in (dy, _core.nhwc(dy), dy.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)):
            t.grad = None
            F.batch_norm(t, None, None, training=True).backward(g)
            assert t.grad.shape == x.shape
    turned = fastnn.randn(4, 9, 3).permute(0, 2, 1)
    assert F.batch_norm(turned, None, None, training=True).stride() == turned.stride()


# ---- against PyTorch -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", REALS)
def test_as_pytorch(torch, dtype, isa):
    """Random configurations: y, all gradients, running statistics."""
    rng, room = np.random.default_rng(len(isa)), {"float32": 3e-5, "float64": 1e-11}[dtype]
    for trial in range(170):
        shape = [int(rng.integers(2, 9)), int(rng.choice([1, 3, 6, 16, 33, 70]))] + [int(rng.choice([1, 2, 5, 8, 14])) for _ in range(rng.integers(0, 3))]
        shape[0] += 6 * (len(shape) == 2)                    # a variance of two values magnifies roundings
        x, dy = (rng.standard_normal(shape) * 2 + rng.choice([0, 3])).astype(dtype), rng.standard_normal(shape).astype(dtype)
        w, b, mean = (rng.standard_normal(shape[1]).astype(dtype) if rng.integers(4) else None for _ in range(3))
        var = None if mean is None else rng.uniform(0.5, 2, shape[1]).astype(dtype)
        training = bool(rng.integers(3)) or mean is None
        layout, momentum, results = rng.choice(["row", "last", "turned"]), float(rng.random()), []
        for lib, f in ((torch, torch.nn.functional), (fastnn, F)):
            X, W, B, M, V, DY = (None if a is None else lib.tensor(a) for a in (x, w, b, mean, var, dy))
            X = laid(x, layout) if lib is fastnn else X
            leaves = [t.requires_grad_() for t in (X, W, B) if t is not None]
            y = f.batch_norm(X, M, V, W, B, training, momentum, 1e-2)
            y.backward(DY)
            results.append([v.detach().numpy() for v in (y, *[t.grad for t in leaves], M, V) if v is not None])
        for got, want in zip(*reversed(results)):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=room, atol=room * max(1, np.abs(want).max()), err_msg=f"trial {trial} {shape} {layout} {training}")


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"momentum": 0.7, "eps": 1e-2}, {"affine": False},
                                     {"track_running_stats": False}, {"bias": False}],
                         ids=str)
def test_layer_as_pytorch(torch, options):
    """Three batches in training, one in evaluation, one in training again; state and text."""
    try:
        theirs = torch.nn.BatchNorm2d(5, **options)
    except TypeError:
        pytest.skip("this PyTorch has no such option")
    ours, rng = nn.BatchNorm2d(5, **options), np.random.default_rng(0)
    assert repr(ours) == repr(theirs) or "bias" not in repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for i, training in enumerate((True, True, True, False, True)):
        x, results = rng.standard_normal((4, 5, 3, 6)).astype(np.float32) + i, []
        for m, lib in ((ours, fastnn), (theirs, torch)):
            t = lib.tensor(x).requires_grad_()
            m.train(training)(t).sigmoid().sum().backward()
            results.append([t.grad.numpy(), *[p.grad.numpy() for p in m.parameters()], *[v.numpy() for v in m.state_dict().values()]])
        for got, want in zip(*results):
            assert got.dtype == want.dtype and got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


# ---- the layers ------------------------------------------------------------------------------------------------------

def test_state():
    m = nn.BatchNorm2d(3)
    assert [(k, v.dtype, tuple(v.shape)) for k, v in m.state_dict().items()] == [
        ("weight", fastnn.float32, (3,)), ("bias", fastnn.float32, (3,)), ("running_mean", fastnn.float32, (3,)), ("running_var", fastnn.float32, (3,)),
        ("num_batches_tracked", fastnn.int64, ())]
    m(fastnn.randn(2, 3, 4, 4))
    again = nn.BatchNorm2d(3)
    again.load_state_dict(m.state_dict())
    assert again.num_batches_tracked.item() == 1 and again.running_mean.tolist() == m.running_mean.tolist()
    old = {k: v for k, v in m.state_dict().items() if k != "num_batches_tracked"}
    again.load_state_dict(old)
    copied = copy.deepcopy(m).double()
    assert copied.running_var.dtype == fastnn.float64 and copied.num_batches_tracked.dtype == fastnn.int64
    m.reset_running_stats()
    assert m.running_mean.tolist() == [0, 0, 0] and m.running_var.tolist() == [1, 1, 1] and m.num_batches_tracked.item() == 0


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("last", [False, True])
def test_captured_steps_leave_what_eager_ones_leave(momentum, last):
    """Parameters, gradients, running statistics and the count, bit for bit, over seven steps; so does a count set in between."""
    rng, ends = np.random.default_rng(0), []
    batches = [rng.standard_normal((4, 6, 5, 5)).astype(np.float32) for _ in range(7)]
    for captured in (False, True):
        m = nn.BatchNorm2d(6, momentum=momentum)
        optimizer = fastnn.optim.SGD(m.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            y = m(_core.nhwc(x) if last else x)
            (y * y * y).sum().backward()
            optimizer.step()
            return y
        run, history = fastnn.capture(step) if captured else step, []
        for i, x in enumerate(batches):
            if i == 5:
                m.num_batches_tracked.fill_(20)
            history += [run(fastnn.tensor(x)).detach().clone(), *[v.clone() for v in m.state_dict().values()], *[p.grad.clone() for p in m.parameters()]]
        assert m.num_batches_tracked.item() == 22 and (not captured or run.replays >= 4)
        ends.append(history)
    same_bits(*ends)


def test_cumulative_mean_is_of_all_batches():
    m, xs = nn.BatchNorm1d(2, momentum=None), [fastnn.randn(8, 2) + i for i in range(5)]
    for x in xs:
        m(x)
    np.testing.assert_allclose(m.running_mean.numpy(), np.mean([x.numpy().mean(0) for x in xs], 0), rtol=1e-5)
    np.testing.assert_allclose(m.running_var.numpy(), np.mean([x.numpy().var(0, ddof=1) for x in xs], 0), rtol=1e-5)


def test_running_statistics_may_be_strided():
    x, around = fastnn.randn(6, 3), fastnn.zeros(2, 6)
    F.batch_norm(x, around[0, ::2], around[1, ::2], training=True, momentum=1.0)
    np.testing.assert_allclose(around.numpy()[:, ::2], [x.numpy().mean(0), x.numpy().var(0, ddof=1)], rtol=1e-5, atol=1e-6)
    assert not around.numpy()[:, 1::2].any()


def test_changed_in_place_is_noticed():
    x, w = fastnn.randn(4, 3, requires_grad=True), fastnn.ones(3, requires_grad=True)
    y = F.batch_norm(x * 1, None, None, w, training=True)
    with fastnn.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


BAD = [
    (lambda: F.batch_norm(fastnn.zeros(3), None, None, training=True), IndexError, r"\(3,\).*channels"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), None, None), RuntimeError, "running_mean must be defined in evaluation mode"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), fastnn.zeros(3), None), RuntimeError, "running_var must be defined"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), fastnn.zeros(3), None, training=True), ValueError, "both be None or neither"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), fastnn.zeros(4), fastnn.zeros(3)), RuntimeError, r"running_mean should contain 3 elements not 4.*\(2, 3\)"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), fastnn.zeros(3), fastnn.zeros(4)), RuntimeError, "running_var should contain 3 elements not 4"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), fastnn.zeros(3), fastnn.zeros(3), fastnn.zeros(2)), RuntimeError, "weight should contain 3 elements not 2"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3, 4), fastnn.zeros(3), fastnn.zeros(3), None, fastnn.zeros(4)), RuntimeError, r"bias should.*\(2, 3, 4\) has C=3"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), fastnn.zeros(1, 3), fastnn.zeros(3)), RuntimeError, r"\(1, 3\)"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3).double(), fastnn.zeros(3), fastnn.zeros(3)), RuntimeError, "mixed dtype.*float64.*float32"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), None, None, fastnn.zeros(3).double(), training=True), RuntimeError, "mixed dtype"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3).long(), None, None, training=True), NotImplementedError, '"batch_norm" not implemented for'),
    (lambda: F.batch_norm(fastnn.zeros(1, 3), None, None, training=True), ValueError,
     r"more than 1 value per channel when training, got input size .*\[1, 3\]"),
    (lambda: nn.BatchNorm2d(3)(fastnn.zeros(1, 3, 1, 1)), ValueError, "more than 1 value per channel"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), None, None, training=True, eps=0), ValueError, "eps must be positive during training, but got 0"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), None, None, training=True, eps=NAN), ValueError, "eps must be positive"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), None, None, training=True, momentum=None), TypeError, "momentum"),
    (lambda: F.batch_norm([[1.0], [2.0]], None, None, training=True), TypeError, "input.*list"),
    (lambda: F.batch_norm(fastnn.zeros(2, 3), np.zeros(3), fastnn.zeros(3)), TypeError, "running_mean.*ndarray"),
    (lambda: nn.BatchNorm2d(3)(fastnn.zeros(2, 3, 4)), ValueError, r"expected 4D input \(got 3D input\)"),
    (lambda: nn.BatchNorm1d(3)(fastnn.zeros(2, 3, 4, 5)), ValueError, r"expected 2D or 3D input \(got 4D input\)"),
    (lambda: nn.BatchNorm2d(3)(fastnn.zeros(2, 4, 5, 5)), RuntimeError, "should contain 4 elements not 3"),
    (lambda: nn.BatchNorm1d(-1), RuntimeError, "negative dimension"),
    (lambda: nn.BatchNorm1d("a"), TypeError, "str"),
    (lambda: nn.BatchNorm2d(3).load_state_dict(nn.BatchNorm2d(4).state_dict()), RuntimeError, "size mismatch"),
    (lambda: F.dropout2d(fastnn.zeros(2, 3, 4, 4), 1.5), ValueError, "between 0 and 1"),
    (lambda: nn.Dropout2d(-0.5), ValueError, "between 0 and 1"),
    (lambda: kernels.batch_norm_forward(np.zeros((2, 3), np.float32), layout="CHWN"), ValueError, "layout.*CHWN"),
    (lambda: kernels.batch_norm_forward(np.zeros((2, 3), np.float32), activation="tanh"), ValueError, "activation.*tanh"),
    (lambda: _core.batch_norm_backward(fastnn.zeros(2, 4), *_core.batch_norm(fastnn.ones(2, 3), None, None, None, None, True, 0, 1)[1:], None, True),
     RuntimeError, r"\(2, 4\).*\(2, 3\)")]


@pytest.mark.parametrize("call, kind, words", BAD)
def test_messages(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_read_only_statistics_are_not_written():
    mean = np.zeros(3, np.float32)
    mean.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running = fastnn.from_numpy(mean)
    with pytest.raises(ValueError, match="read-only"):
        F.batch_norm(fastnn.randn(4, 3), running, fastnn.ones(3), training=True)
    F.batch_norm(fastnn.randn(4, 3), running, fastnn.ones(3))


# ---- the NumPy-level door --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(20, 3), (4, 3, 7), (4, 3, 5, 6)], ids=str)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_kernels(shape, activation):
    rng = np.random.default_rng(0)
    x, dy, w, b = rng.standard_normal(shape), rng.standard_normal(shape), rng.standard_normal(3), rng.standard_normal(3)
    order = (0, *range(2, x.ndim), 1)
    for training in (True, False):
        for layout, turn, back in (("NCHW", lambda a: a, lambda a: a),
                                   ("NHWC", lambda a: np.ascontiguousarray(a.transpose(order)), lambda a: np.moveaxis(a, -1, 1))):
            mean, var = np.ones(3), np.full(3, 2.0)
            y, saved = kernels.batch_norm_forward(turn(x), w, b, mean, var, training=training, momentum=0.5, activation=activation, layout=layout)
            stats = () if training else (np.ones(3), np.full(3, 2.0))
            want = (ref.batch_norm_eval(x, *stats, w, b) if stats else ref.batch_norm_fwd(x, w, b))
            assert y.flags.c_contiguous and y.shape == turn(x).shape
            np.testing.assert_allclose(back(y), np.maximum(want, 0) if activation else want, rtol=1e-11, atol=1e-12)
            assert (mean == 1).all() != training
            if training:
                axes = (0, *range(2, x.ndim))
                np.testing.assert_allclose([mean, var], [0.5 + x.mean(axes) / 2, 1 + x.var(axes, ddof=1) / 2])
            dx, dw, db = kernels.batch_norm_backward(turn(dy), saved)
            through = np.where(want > 0, dy, 0) if activation else dy
            for got, g in zip((back(dx), dw, db), ref.batch_norm_bwd(through, x, w, 1e-5, *stats)):
                np.testing.assert_allclose(got, g, rtol=1e-9, atol=1e-10)
            out = np.empty_like(y)
            assert kernels.batch_norm_forward(turn(x), w, b, np.ones(3), np.full(3, 2.0), training=training, layout=layout, out=out)[0] is out
    mean = np.zeros(3)[::-1]
    kernels.batch_norm_forward(x, None, None, mean, np.ones(3), momentum=1.0)
    assert mean.all()


# ---- dropout of channels ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("layout", ["row", "last", "turned"])
def test_dropout2d(layout, captured, threads):
    """Whole channels; the same ones in every layout, with the same gradient; the input's layout."""
    rng = np.random.default_rng(0)
    x, dy = (laid(rng.standard_normal((5, 7, 4, 3)).astype(np.float32), layout) for _ in range(2))
    fastnn.manual_seed(11)
    keep = np.reshape(ref.bernoulli(35, 11, 0, 0.7), (5, 7, 1, 1)).astype(np.float32) * np.float32(1 / 0.7)

    def step(x, dy):
        t = x.detach().requires_grad_()
        y = F.dropout2d(t, 0.3)
        return y, fastnn.autograd.grad(y, t, dy)[0]
    y, dx = (fastnn.capture(step) if captured else step)(x, dy)
    same_bits(y, x.numpy() * keep)
    same_bits(dx, dy.numpy() * keep)
    assert y.stride() == x.stride()


def test_dropout2d_as_a_layer(torch):
    x, m = fastnn.ones(40, 50, 2, 2), nn.Dropout2d(0.25)
    y = m(x)
    assert {len(set(c)) for c in y.reshape(2000, 4).tolist()} == {1} and abs(y.mean().item() - 1) < 0.1
    assert m.eval()(x) is x and repr(m) == repr(torch.nn.Dropout2d(0.25))
    fastnn.manual_seed(1)
    want = F.dropout2d(x)
    for layout in ("row", "last"):
        fastnn.manual_seed(1)
        t = laid(x.numpy(), layout)
        assert F.dropout2d(t, inplace=True) is t
        same_bits(t, want)
    with pytest.warns(UserWarning, match="3D input"):
        y = F.dropout2d(fastnn.ones(20, 9, 5))
    assert {len(set(c)) for c in y.reshape(180, 5).tolist()} == {1}
    with pytest.warns(UserWarning, match="2-D"):
        F.dropout2d(fastnn.ones(20, 9))
