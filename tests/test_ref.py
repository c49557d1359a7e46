"""The meanings themselves: against values worked out by hand or published, against each other, and against PyTorch."""
import math
from functools import partial

import numpy as np
import pytest

import ref
from check import numeric_gradient

RNG = np.random.default_rng(0)
NAN, INF = np.nan, np.inf


def randn(*shape):
    return RNG.standard_normal(shape)


@pytest.mark.parametrize("op, args, want", [
    ("gemm", (np.array([[1., 2]]), np.array([[3.], [4]]), np.array([[10.]]), np.array([-30.]), "relu"), [[0]]),
    ("dense_fwd", (np.array([[1., 2]]), np.array([[3., 4], [5, 6]]), np.array([1., 2])), [[12, 19]]),
    ("floor_divide", (np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])), [3, -4, -4, 3]),
    ("trunc_divide", (np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])), [3, -3, -3, 3]),
    ("remainder", (np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])), [1, 1, -1, -1]),
    ("remainder", (np.array([5., -5, 1]), np.array([3., 3, 0])), [2, 1, NAN]),
    ("pow", (np.array([2, -1, -1, 1, 2, 0]), np.array([-1, -2, -3, -9, 10, 0])), [0, 1, -1, 1, 1024, 1]),
    ("maximum", (np.array([NAN, 1, 3]), np.array([0, NAN, 2.])), [NAN, NAN, 3]),
    ("sign", (np.array([-2., 0, NAN, INF]),), [-1, 0, 0, 1]),
    ("round", (np.array([0.5, 1.5, -2.5]),), [0, 2, -2]),
    ("clamp", (np.array([-2, NAN, 0, 9]), -1, 1), [-1, NAN, 0, 1]),
    ("addcmul", (np.array([1.]), np.array([2.]), np.array([3.]), 0.5), [4]),
    ("relu_fwd", (np.array([-1, NAN, 2]),), [0, NAN, 2]),
    ("sigmoid_fwd", (np.array([-1e4, 0, 1e4]),), [0, 0.5, 1]),
    ("sumdev2", (np.array([1., 2, 3]), 0, 0.5), 1),
    ("argmax", (np.array([1, NAN, 3, NAN]),), 1), ("argmin", (np.array([2, 1, 1]),), 1),
    ("any", (np.array([[0, 0], [0, 3]]), 1), [False, True]), ("all", (np.array([[0, 1], [2, 3]]), 1), [False, True]),
    ("copy", (np.array([-1.9, 0, 2.5]), "i"), [-1, 0, 2]),
    ("copy", (np.array([-1.9, 0, NAN]), "b"), [True, False, True]),
    ("arange", (1, 0.5, 3), [1, 1.5, 2]), ("fill", ((2,), 7), [7, 7]),
    ("take", (np.array([[1, 2], [3, 4]]), np.array([[-1], [0]])), [[[3, 4]], [[1, 2]]]),
    ("take", (np.array([[1, 2], [3, 4]]), np.array([0, 1]), np.array([1])), [2, 4]),
    ("put", (np.array([1, 2, 3]), np.array([7, 8, 9]), np.array([0, 0, -1])), [8, 2, 9]),
    ("put_add", (np.array([1, 2, 3]), np.array([7, 8, 9]), np.array([0, 0, -1])), [16, 2, 12]),
    ("gather", (np.array([[1, 2], [3, 4]]), 1, np.array([[1, 1], [0, 1]])), [[2, 2], [3, 4]]),
    ("scatter", (np.zeros((2, 2), int), 0, np.array([[1, 0]]), np.array([[5, 6]])), [[0, 6], [5, 0]]),
    ("scatter_add", (np.ones(2, int), 0, np.array([1, 1]), np.array([5, 6])), [1, 12]),
    ("nonzero", (np.array([[0, NAN], [2, 0]]),), [[0, 1], [1, 0]]),
    ("logsumexp", (np.array([[1000., 1000], [-INF, -INF]]), 1), [1000 + math.log(2), -INF]),
    ("grad_norm", (np.array([3.]), np.array([[-4.]])), 5), ("grad_scale", (np.array([3.]), 2, 1), [1.5 / (1 + 5e-7)]),
    ("grad_scale", (np.array([3.]), 1, 2), [3]),
    ("grad_clamp", (np.array([-3, 0.5, NAN]), 1), [-1, 0.5, NAN])])
def test_by_hand(op, args, want):
    assert np.allclose(ref.meaning(op)(*args), want, rtol=1e-12, atol=0, equal_nan=True)


def test_sort():
    x = np.array([[2, NAN, 1, 2, -INF]])
    for descending, values, order in ((False, [-INF, 1, 2, 2, NAN], [4, 2, 0, 3, 1]),
                                      (True, [NAN, 2, 2, 1, -INF], [1, 0, 3, 2, 4])):
        v, o = ref.sort_(x, descending)
        assert np.array_equal(v[0], values, equal_nan=True) and o[0].tolist() == order


# Salmon et al., the known answers that their library Random123 publishes for philox4x32-10
@pytest.mark.parametrize("seed, draw, block, want", [
    (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88, "d16cfe09 94fdcceb 5001e420 24126ea1")])
def test_philox(seed, draw, block, want):
    assert [f"{w:08x}" for w in ref.philox(seed, draw, block)] == want.split()


def test_random_distributions():
    """Moments and ranges of each distribution over some thousand numbers; a permutation is one."""
    n = 4000
    for bits in (32, 64):
        u = ref.uniform(n, 1, 2, -1, 3, bits=bits)
        assert u.min() >= -1 and u.max() < 3 and abs(u.mean() - 1) < 0.06 and abs(u.var() - 16 / 12) < 0.06
        z = ref.normal(n, 1, 2, 5, 2, bits=bits)
        assert abs(z.mean() - 5) < 0.1 and abs(z.std() - 2) < 0.1 and abs(np.mean(((z - 5) / 2) ** 4) - 3) < 0.4
        assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.06
    for p in (0.3, np.full(n, 0.3)):
        assert abs(ref.bernoulli(n, 1, 2, p).mean() - 0.3) < 0.03
    assert ref.bernoulli(9, 1, 2, 1.0).all() and not ref.bernoulli(9, 1, 2, 0.0).any()
    r = ref.randint(n, 1, 2, -3, 4)
    assert (np.bincount(r + 3, minlength=7) > n / 7 * 0.85).all() and r.min() == -3 and r.max() == 3
    assert sorted(ref.randperm(50, 1, 2)) == list(range(50))
    assert ref.randperm(50, 1, 2).tolist() != ref.randperm(50, 1, 3).tolist()
    y, mask = ref.dropout_fwd(np.ones(n), 1, 2, 0.25)
    assert set(np.unique(y)) == {0, 1 / 0.75} and abs(mask.mean() - 0.75) < 0.03


WEIGHT = RNG.uniform(0.5, 2, 4)
CLASSES = np.array([[0, 3], [1, -100], [2, 2]])
INSIDE = np.array([[0, 3], [1, 1], [2, 2]])
SOFT = RNG.dirichlet(np.ones(4), (3, 2)).transpose(0, 2, 1)


def pairs():
    """(forward, backward, x): backward(dy, x) is forward's gradient."""
    yield "relu", ref.relu_fwd, lambda dy, x: ref.relu_bwd(dy, ref.relu_fwd(x)), randn(9)
    yield "sigmoid", ref.sigmoid_fwd, lambda dy, x: ref.sigmoid_bwd(dy, ref.sigmoid_fwd(x)), randn(9)
    yield "tanh", ref.tanh_fwd, lambda dy, x: ref.tanh_bwd(dy, ref.tanh_fwd(x)), randn(9)
    w, x = randn(3, 4), randn(5, 4)
    yield "dense x", lambda x: ref.dense_fwd(x, w), lambda dy, x: ref.dense_bwd_x(dy, w), x
    yield "dense w", lambda w: ref.dense_fwd(x, w), lambda dy, w: ref.dense_bwd_w(dy, x)[0], w
    yield "dense b", lambda b: ref.dense_fwd(x, w, b), lambda dy, b: ref.dense_bwd_w(dy, x)[1], randn(3)
    for name in ("softmax", "log_softmax"):
        f, g = ref.meaning(name + "_fwd"), ref.meaning(name + "_bwd")
        yield name, lambda x, f=f: f(x, 1), lambda dy, x, f=f, g=g: g(dy, f(x, 1), 1), randn(2, 4, 3)
    drop = lambda x: ref.dropout_fwd(x, 1, 2, 0.3)                               # noqa: E731
    yield "dropout", lambda x: drop(x)[0], lambda dy, x: ref.dropout_bwd(dy, drop(x)[1], 0.3), randn(20)
    for reduction in ("none", "mean", "sum"):
        target = randn(9)
        mse = partial(ref.mse_fwd, target=target, reduction=reduction)
        yield f"mse {reduction}", mse, partial(ref.mse_bwd, target=target, reduction=reduction), randn(9)
        for target, options in ((CLASSES, {}), (INSIDE, {"weight": WEIGHT, "ignore_index": 2}),
                                (CLASSES, {"smoothing": 0.1, "weight": WEIGHT}), (SOFT, {}),
                                (SOFT, {"smoothing": 0.2, "weight": WEIGHT})):
            for loss in ("cross_entropy", "nll"):
                if loss == "nll" and (target is SOFT or "smoothing" in options):
                    continue
                f, g = ref.meaning(loss + "_fwd"), ref.meaning(loss + "_bwd")
                how = {"target": target, "reduction": reduction, **options}
                yield f"{loss} {reduction} {sorted(options)}", partial(f, **how), partial(g, **how), randn(3, 4, 2)


@pytest.mark.parametrize("name, forward, backward, x", [pytest.param(*p, id=p[0]) for p in pairs()])
def test_backward_is_the_derivative(name, forward, backward, x):
    dy = RNG.uniform(0.5, 1.5, np.shape(forward(x)))
    places, want = numeric_gradient(forward, [x], 0, [dy])
    assert np.allclose(backward(dy, x).reshape(-1)[places], want, rtol=1e-6, atol=1e-8)


def same(got, want):
    assert np.allclose(got, want.detach().numpy(), rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_losses_as_torch(torch, reduction, weight):
    x, F = randn(3, 4, 2), torch.nn.functional
    t, w = torch.tensor(x), None if weight is None else torch.tensor(weight)
    same(ref.mse_fwd(x, x[::-1], reduction=reduction), F.mse_loss(t, t.flip(0), reduction=reduction))
    for target, ignore_index in ((CLASSES, -100), (INSIDE, 2)):
        options = {"ignore_index": ignore_index, "reduction": reduction}
        same(ref.nll_fwd(x, target, weight, **options), F.nll_loss(t, torch.tensor(target), w, **options))
        for smoothing in (0, 0.3):
            same(ref.cross_entropy_fwd(x, target, weight, smoothing=smoothing, **options),
                 F.cross_entropy(t, torch.tensor(target), w, label_smoothing=smoothing, **options))
    for smoothing in (0, 0.3):
        same(ref.cross_entropy_fwd(x, SOFT, weight, reduction=reduction, smoothing=smoothing),
             F.cross_entropy(t, torch.tensor(SOFT), w, reduction=reduction, label_smoothing=smoothing))


@pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2},
                                     {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}])
def test_sgd_as_torch(torch, options):
    p, b = randn(5), None
    t = torch.nn.Parameter(torch.tensor(p))
    optimizer = torch.optim.SGD([t], **options)
    for _ in range(4):
        g = randn(5)
        t.grad = torch.tensor(g)
        optimizer.step()
        p, b = ref.sgd(p, g, b, **options)
        same(p, t)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind, options", [
    ("Adam", {}), ("Adam", {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}), ("Adam", {"maximize": True}),
    ("AdamW", {"weight_decay": 0.1})])
def test_adam_as_torch(torch, kind, options, amsgrad):
    """And the numbers of optim_tick give the same step."""
    p, m, v, vmax = randn(5), np.zeros(5), np.zeros(5), np.zeros(5) if amsgrad else None
    decay, betas, eps = options.get("weight_decay", 0), options.get("betas", (0.9, 0.999)), options.get("eps", 1e-8)
    t = torch.nn.Parameter(torch.tensor(p))
    optimizer = getattr(torch.optim, kind)([t], lr=0.1, amsgrad=amsgrad, **options)
    for step in range(1, 5):
        g = randn(5) / step
        t.grad = torch.tensor(g)
        optimizer.step()
        ticked = ref.optim_tick(step - 1, 0.1, *betas, decay)
        kept = p * ticked[3] if kind == "AdamW" else p
        p, m, v, vmax = ref.adam(p, g, m, v, step, vmax, lr=0.1, decoupled=kind == "AdamW", **options)
        same(p, t)
        moved = ticked[1] * m / (np.sqrt(vmax if amsgrad else v) * ticked[2] + eps)
        assert ticked[0] == step and np.allclose(p, kept + moved, rtol=1e-12)
