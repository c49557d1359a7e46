"""csrc/loss.c and fastnn/ops/loss.py: cross_entropy, nll, and the losses of single elements."""
import numpy as np
import pytest

import fastnn
import fastnn.nn.functional as F
import ref
from check import check_op, machine, same_bits

REDUCTIONS = ("none", "mean", "sum")
# dimension 1 holds the classes; most are around the vectors' lengths
SHAPES = ((1, 1), (32, 4), (3, 17), (2, 3, 5), (2, 4, 3, 7))
LARGE = ((600, 40), (2500, 10), (40, 1000), (2, 140, 9), (2, 5, 4000), (3, 300, 35))     # several parts, columns past the tile


def rng(seed=0):
    return np.random.default_rng(seed)


def rows(x):
    """(rows, C, inner) as ref takes it."""
    return x.reshape(*x.shape[:2], -1)


def classes(shape, seed=1, ignore=None):
    t = rng(seed).integers(0, shape[1], (shape[0], *shape[2:]))
    if ignore is not None:
        t[rng(2).random(t.shape) < 0.2] = ignore
    return t


def shaped(mean, *more):
    """The meaning of a loss over arrays of any shape; without reduction it has the shape of the items."""
    def f(x, t, *a, **options):
        y = mean(rows(x), t.reshape(rows(x).shape if t.shape == x.shape and t.dtype.kind == "f" else (x.shape[0], -1)), *a, **options)
        return y.reshape(x.shape[0], *x.shape[2:]) if np.ndim(y) else y
    return f


# ---- cross_entropy and nll: every way, against the meaning -------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("soft, e, weighted, reduction", ((0, 0.0, 0, "mean"), (0, 0.0, 1, "none"), (0, 0.1, 0, "sum"),
                                                         (0, 0.1, 1, "mean"), (1, 0.0, 0, "none"), (1, 0.1, 1, "mean")))
def test_cross_entropy(shape, soft, e, weighted, reduction):
    x = rng().normal(0, 3, shape)
    t = rng(1).random(shape) if soft else classes(shape, ignore=-100)
    w = rng(3).uniform(0.1, 2, shape[1]) if weighted else None
    check_op(lambda x, t, w: F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=e),
             lambda x, t, w: shaped(ref.cross_entropy_fwd)(x, t, w, reduction=reduction, smoothing=e), x, t, w, op="cross_entropy_fwd", tol=8,
             bound=lambda x, *a: 30 * (x.size if reduction == "sum" else x.shape[1] if soft else 1), grads=(0,) if x.size < 60 else (), threads=(1, 3),
             layouts=("contiguous", "sliced")[x.size % 2:][:1], capture=x.size in (51, 30))


SUMMED = {
    "cross_entropy": lambda x, t: F.cross_entropy(x.view(-1, 10), (t.view(-1, 10).sum(1) * 9.99 / 10).long()),
    "nll_loss": lambda x, t: F.nll_loss(x.view(-1, 10), (t.view(-1, 10).sum(1) * 9.99 / 10).long()),
    "bce": lambda x, t: F.binary_cross_entropy(t * t, t), "gaussian_nll": lambda x, t: F.gaussian_nll_loss(x, t, t),
    "kl_div": lambda x, t: F.kl_div(x, t, reduction="sum"),
    **{f.__name__: f for f in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits)}}


@pytest.mark.parametrize("name", SUMMED)
def test_parts_are_added_in_one_order(name, isa):
    """Many parts of sizes far apart, in float64, where any other order shows."""
    n = 120_000
    x = rng().normal(0, 1, n) * np.exp(rng(1).uniform(-9, 9, 24)).repeat(n // 24)
    x, t, first = fastnn.tensor(x), fastnn.tensor(rng(2).random(n)), None
    for threads in (1, 2, 3, 7):
        with machine(isa, threads):
            y = SUMMED[name](x, t)
        first = y if first is None else first
        same_bits(first, y, f"{threads} threads")


@pytest.mark.parametrize("shape", ((7, 4), (2, 3, 5)), ids=str)
@pytest.mark.parametrize("weighted, reduction", ((0, "mean"), (1, "mean"), (1, "none"), (0, "sum")))
def test_nll(shape, weighted, reduction):
    x, t = rng().normal(0, 3, shape), classes(shape, ignore=-100)
    w = rng(3).uniform(0.1, 2, shape[1]) if weighted else None
    check_op(lambda x, t, w: F.nll_loss(x, t, w, reduction=reduction), lambda x, t, w: shaped(ref.nll_fwd)(x, t, w, reduction=reduction), x, t, w,
             op="nll_fwd", bound=lambda x, *a: 30 * (x.size if reduction == "sum" else 1), grads=(0,), layouts=("contiguous", "sliced")[weighted:][:1])


@pytest.mark.parametrize("shape", ((), (4, 33), (4097,), (2, 10001)), ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse(shape, reduction):
    x, t = np.array(rng().normal(0, 1, shape)), np.array(rng(1).normal(0, 1, shape))
    check_op(lambda x, t: F.mse_loss(x, t, reduction=reduction), lambda x, t: ref.mse_fwd(x, t, reduction=reduction), x, t, op="mse_fwd",
             bound=lambda x, t: 20 * (x.size if reduction == "sum" else 1), grads=(0, 1), layouts=("contiguous", "transposed")[x.ndim == 2:][:1],
             capture=x.size < 50)


@pytest.mark.parametrize("name, soft, e", (("cross_entropy", 0, 0.0), ("cross_entropy", 0, 0.1), ("cross_entropy", 1, 0.0), ("nll_loss", 0, 0.0)))
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_large(torch, isa, shape, name, soft, e):
    """Against PyTorch in float64, for each reduction; any number of threads gives the same bits."""
    x = rng().normal(0, 3, shape).astype(np.float32)
    t = rng(1).dirichlet(np.ones(shape[1]), (shape[0], *shape[2:])).astype(np.float32) if soft else classes(shape, ignore=-100)
    t = np.ascontiguousarray(np.moveaxis(t, -1, 1)) if soft else t
    w = rng(3).uniform(0.1, 2, shape[1]).astype(np.float32)
    options = {"label_smoothing": e} if name == "cross_entropy" else {}
    for reduction in REDUCTIONS:
        a, first = torch.tensor(x, dtype=torch.float64, requires_grad=True), None
        z = getattr(torch.nn.functional, name)(a, torch.tensor(t, dtype=torch.float64 if soft else torch.int64), torch.tensor(w, dtype=torch.float64),
                                               reduction=reduction, **options)
        z.sum().backward()
        for n in (1, 2, 3, 7):
            with machine(threads=n):
                b = fastnn.from_numpy(x).requires_grad_()
                y = getattr(F, name)(b, fastnn.from_numpy(t), fastnn.from_numpy(w), reduction=reduction, **options)
                y.sum().backward()
            if first is None:
                first = y.detach(), b.grad
                np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-6, atol=2e-6)
                np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=2e-5, atol=1e-6)
            same_bits(first, (y.detach(), b.grad), f"{n} threads")


# ---- cross_entropy: what is special ------------------------------------------------------------------------------------

def test_classes_innermost_in_memory(isa):
    """(N, C, H, W) lying as (N, H, W, C) is read as it lies: same values, gradient in the same order."""
    x = fastnn.from_numpy(rng().normal(0, 2, (2, 3, 4, 5)).astype(np.float32)).permute(0, 3, 1, 2).requires_grad_()
    t = fastnn.from_numpy(classes((2, 5, 3, 4)))
    for target in (t, fastnn.softmax(x.detach() * 0.5, 1)):
        for reduction in REDUCTIONS:
            flat, x.grad = x.detach().contiguous().requires_grad_(), None
            y, z = (F.cross_entropy(v, target, reduction=reduction, label_smoothing=0.1) for v in (x, flat))
            np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-6)
            y.sum().backward()
            z.sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), flat.grad.numpy(), rtol=2e-5, atol=1e-6)


def test_one_item_and_a_byte_target():
    x = fastnn.tensor([0.0, 1.0, 2.0], requires_grad=True)
    y = F.cross_entropy(x, fastnn.tensor(1))
    y.backward()
    p = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    assert y.item() == pytest.approx(-np.log(p[1]), rel=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), p - [0, 1, 0], rtol=1e-5)
    batch = x.detach().view(1, 3)
    assert F.cross_entropy(batch, fastnn.tensor([1], dtype=fastnn.uint8)).item() == y.item()


def test_stable_far_out(isa):
    x = fastnn.tensor([[1e4, 0.0, -1e4], [-3e38, 3e38, 0.0]], requires_grad=True)
    y = F.cross_entropy(x, fastnn.tensor([1, 1]), reduction="none")
    assert y.tolist() == [1e4, 0.0]
    y.sum().backward()
    assert x.grad.tolist() == [[1, -1, 0], [0, 0, 0]]


def test_nan_and_infinity(torch, isa):
    x = np.array([[np.nan, 0, 1], [np.inf, 0, 1], [-np.inf, 0, 1], [-np.inf] * 3, [0, -np.inf, 2]], np.float32)
    t = np.array([0, 1, 0, 0, 2])
    for e in (0.0, 0.1):
        y = F.cross_entropy(fastnn.from_numpy(x), fastnn.from_numpy(t), reduction="none", label_smoothing=e)
        z = torch.nn.functional.cross_entropy(torch.tensor(x), torch.tensor(t), reduction="none", label_smoothing=e)
        np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-6)


def test_all_ignored_and_empty():
    x = fastnn.zeros(3, 4, requires_grad=True)
    t = fastnn.full((3,), -100, dtype=fastnn.int64)
    y = F.cross_entropy(x, t)
    y.backward()
    assert np.isnan(y.item()) and x.grad.tolist() == [[0.0] * 4] * 3
    assert F.cross_entropy(x, t, reduction="sum").item() == 0 and F.cross_entropy(x, t, reduction="none").tolist() == [0, 0, 0]
    none, nothing = fastnn.zeros(0, 4, requires_grad=True), fastnn.zeros(0, dtype=fastnn.int64)
    for f in (F.cross_entropy, F.nll_loss):
        assert np.isnan(f(none, nothing).item()) and f(none, nothing, reduction="sum").item() == 0 and f(none, nothing, reduction="none").shape == (0,)
        f(none, nothing, reduction="sum").backward()
        assert none.grad.shape == (0, 4)
    assert np.isnan(F.cross_entropy(fastnn.zeros(3, 0), fastnn.zeros(3, 0)).item()) and np.isnan(F.mse_loss(fastnn.zeros(0), fastnn.zeros(0)).item())


def test_small_batch_has_the_bits_of_its_rows(isa):
    """Without reduction a row's loss does not depend on its neighbours, nor on whether a gradient is kept."""
    x, t = rng().normal(0, 3, (67, 10)).astype(np.float32), classes((67, 10))
    whole = F.cross_entropy(fastnn.from_numpy(x), fastnn.from_numpy(t), reduction="none").numpy()
    for lo, hi in ((0, 1), (1, 4), (5, 38), (60, 67)):
        part = fastnn.from_numpy(x[lo:hi]).requires_grad_()
        same_bits(F.cross_entropy(part, fastnn.from_numpy(t[lo:hi]), reduction="none"), whole[lo:hi])


def test_targets_and_weights_with_gradients(torch):
    arrays = rng().normal(0, 1, (4, 5)), rng(1).random((4, 5)), rng(2).random(5)
    grads = []
    for lib, f in ((fastnn, F), (torch, torch.nn.functional)):
        x, t, w = (lib.tensor(a, dtype=lib.float64, requires_grad=True) for a in arrays)
        f.cross_entropy(x, t, w, label_smoothing=0.1).backward()
        grads.append([v.grad.numpy() for v in (x, t, w)])
    for a, b in zip(*grads):
        np.testing.assert_allclose(a, b, rtol=1e-10)


# ---- classes out of range ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("f", (F.cross_entropy, F.nll_loss))
def test_classes_are_checked(f):
    x = fastnn.zeros(8, 5)
    with pytest.raises(IndexError, match=r"Target 7 is out of bounds.*target \(8,\) holds class 7 at flat index 3.*input \(N,C\)=\(8, 5\) has C=5"):
        f(x, fastnn.tensor([0, 1, 2, 7, 0, 0, 0, 0]))
    with pytest.raises(IndexError, match="Target -1 is out of bounds"):
        f(x, fastnn.tensor([0, 1, 2, -1, 0, 0, 0, 0]))
    with pytest.raises(IndexError, match="Target 2 is out of bounds"):
        f(fastnn.zeros(1, 2, 3), fastnn.tensor([[0, 2, 1]]))
    assert f(x, fastnn.full((8,), 7, dtype=fastnn.int64), ignore_index=7, reduction="sum").item() == 0


@pytest.mark.parametrize("f", (F.cross_entropy, F.nll_loss))
@pytest.mark.parametrize("reduction", ("none", "sum"))
@pytest.mark.parametrize("shape", ((6, 3), (6, 40), (2, 3, 3)), ids=str)
def test_a_replay_with_a_bad_class_gives_nan(isa, f, shape, reduction):
    """Classes that the step itself makes are not looked at before a replay: the item becomes NaN, the others stay, no memory is touched."""
    x = fastnn.from_numpy(rng().normal(0, 1, shape).astype(np.float32)).requires_grad_()

    @fastnn.capture
    def step(t):
        x.grad = None
        y = f(x, t * 1, reduction=reduction)
        y.sum().backward()
        return y
    good = classes(shape)
    while step.replays < 1:
        want, slope = step(fastnn.from_numpy(good)).numpy().reshape(-1), x.grad.numpy().copy()
    for value in (shape[1], -1, 2 ** 62, -2 ** 62):
        bad = good.copy()
        bad.reshape(-1)[2] = value
        got = step(fastnn.from_numpy(bad)).numpy().reshape(-1)
        at = 2 if reduction == "none" else 0
        assert np.isnan(got[at]) and np.array_equal(np.delete(got, at), np.delete(want, at))
        items = np.moveaxis(x.grad.numpy().copy(), 1, -1).reshape(-1, shape[1])     # a view held would make the next call record anew
        assert np.isnan(items[2]).all() and np.array_equal(np.delete(items, 2, 0), np.delete(np.moveaxis(slope, 1, -1).reshape(items.shape), 2, 0))
    assert step.replays >= 5
    with pytest.raises(IndexError, match="out of bounds"):
        fastnn.capture(lambda t: f(x, t))(fastnn.from_numpy(bad))


# ---- errors ------------------------------------------------------------------------------------------------------------

def zeros(*shape, **options):
    return lambda lib: lib.zeros(*shape, **{k: getattr(lib, v) for k, v in options.items()})


LONG = {"dtype": "int64"}
ERRORS = [("cross_entropy", (zeros(8, 5), zeros(7, **LONG)), {}), ("cross_entropy", (zeros(8, 5), zeros(8, dtype="int32")), {}),
          ("cross_entropy", (zeros(8, 5), zeros(8)), {}), ("cross_entropy", (zeros(8, 5), zeros(8, 5, **LONG)), {}),
          ("cross_entropy", (zeros(8, 5), zeros(8, 4)), {}),
          ("cross_entropy", (zeros(8, 5), zeros(8, **LONG), zeros(4)), {}), ("cross_entropy", (zeros(8, 5), zeros(8, **LONG), zeros(5, dtype="float64")), {}),
          ("cross_entropy", (zeros(8, 5), zeros(8, **LONG)), {"label_smoothing": 2.0}), ("cross_entropy", (zeros(8, 5), zeros(8, **LONG)), {"reduction": "no"}),
          ("cross_entropy", (zeros(8, 5, **LONG), zeros(8, **LONG)), {}), ("cross_entropy", (zeros(()), zeros((), **LONG)), {}),
          ("cross_entropy", (zeros(2, 5, 3, 4), zeros(2, 3, 5, **LONG)), {}), ("cross_entropy", (zeros(2, 5, 3), zeros(2, **LONG)), {}),
          ("cross_entropy", (zeros(3, 0), zeros(3, **LONG)), {}), ("cross_entropy", (zeros(8, 5), zeros(8, 5)), {"ignore_index": 2}),
          ("nll_loss", (zeros(8, 5), zeros(7, **LONG)), {}), ("nll_loss", (zeros(8, 5), zeros(8, 2, **LONG)), {}),
          ("nll_loss", (zeros(()), zeros((), **LONG)), {}),
          ("nll_loss", (zeros(2, 5, 3), zeros(2, 4, **LONG)), {}), ("mse_loss", (zeros(3, 2), zeros(4, 2)), {}),
          ("mse_loss", (zeros(3), zeros(3)), {"reduction": "no"}),
          ("mse_loss", (zeros(3, **LONG), zeros(3, **LONG)), {}), ("mse_loss", (zeros(3, 2), zeros(3, 2)), {"weight": zeros(3)}),
          ("l1_loss", (zeros(3, 2), zeros(4, 2)), {}), ("smooth_l1_loss", (zeros(3), zeros(3)), {"beta": -1.0}),
          ("huber_loss", (zeros(3), zeros(3)), {"delta": 0.0}),
          ("binary_cross_entropy", (zeros(3), zeros(2)), {}), ("binary_cross_entropy", (lambda lib: lib.full((2,), 1.5), zeros(2)), {}),
          ("binary_cross_entropy", (lambda lib: lib.full((2,), float("nan")), zeros(2)), {}), ("binary_cross_entropy_with_logits", (zeros(3), zeros(2)), {}),
          ("binary_cross_entropy", (zeros(2), lambda lib: lib.full((2,), 1.5)), {}),
          ("binary_cross_entropy", (zeros(2, 3), zeros(2, 3), zeros(4, 3)), {}),
          ("binary_cross_entropy_with_logits", (zeros(3), zeros(3)), {"pos_weight": zeros(2)}),
          ("binary_cross_entropy_with_logits", (zeros(3), zeros(3), zeros(2)), {}), ("kl_div", (zeros(2, 3), zeros(2, 4)), {}),
          ("kl_div", (zeros(3), zeros(3)), {"reduction": "no"}),
          ("gaussian_nll_loss", (zeros(2, 3), zeros(2, 3), zeros(3)), {}), ("gaussian_nll_loss", (zeros(2, 3), zeros(2, 3), zeros(1, 1)), {}),
          ("gaussian_nll_loss", (zeros(2), zeros(2), lambda lib: lib.full((2,), -0.5)), {}), ("gaussian_nll_loss", (zeros(2), zeros(2), -1.0), {}),
          ("gaussian_nll_loss", (zeros(2), zeros(2), zeros(2)), {"reduction": "batchmean"}), ("gaussian_nll_loss", (zeros(2, 3), zeros(2, 4), zeros(2, 3)), {}),
          ("huber_loss", (zeros(3), zeros(3)), {"reduction": "no"}), ("l1_loss", (zeros(3), zeros(3)), {"reduction": "no"}),
          ("one_hot", (lambda lib: lib.tensor([0, 3]), 3), {}), ("one_hot", (lambda lib: lib.tensor([0, -1]),), {}), ("one_hot", (zeros(2),), {}),
          ("one_hot", (zeros(0, **LONG),), {}), ("dropout", (zeros(2), 1.5), {})]


@pytest.mark.filterwarnings("ignore:Using a target size", "ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("name, args, options", ERRORS, ids=lambda v: v if isinstance(v, str) else None)
def test_refuses_what_torch_refuses(torch, name, args, options):
    """The same kind of exception; ours names the shapes."""
    def make(lib, v):
        return v(lib) if callable(v) else v
    with pytest.raises(Exception) as theirs:
        getattr(torch.nn.functional, name)(*[make(torch, a) for a in args], **{k: make(torch, v) for k, v in options.items()})
    with pytest.raises(theirs.type) as ours:
        getattr(F, name)(*[make(fastnn, a) for a in args], **{k: make(fastnn, v) for k, v in options.items()})
    assert str(ours.value)


def test_messages():
    with pytest.raises(ValueError, match=r"Expected input batch_size \(8\) to match target batch_size \(7\).*"
                                         r"input \(N,C\)=\(8, 5\) needs a target .* \(8,\), got \(7,\)"):
        F.cross_entropy(fastnn.zeros(8, 5), fastnn.zeros(7, dtype=fastnn.int64))
    with pytest.raises(RuntimeError, match=r"input \(N,C,...\)=\(2, 5, 3, 4\) needs a target of classes of shape \(2, 3, 4\), got \(2, 3, 5\)"):
        F.cross_entropy(fastnn.zeros(2, 5, 3, 4), fastnn.zeros(2, 3, 5, dtype=fastnn.int64))
    with pytest.raises(NotImplementedError, match="size_average"):
        F.mse_loss(fastnn.zeros(2), fastnn.zeros(2), size_average=True)
    w, half = fastnn.ones(3, requires_grad=True), fastnn.full((3,), 0.5)
    for f in (lambda: F.nll_loss(fastnn.zeros(2, 3), fastnn.tensor([0, 1]), w), lambda: F.cross_entropy(fastnn.zeros(2, 3), fastnn.tensor([0, 1]), w),
              lambda: F.binary_cross_entropy(half, half, w), lambda: F.binary_cross_entropy_with_logits(half, half, w),
              lambda: F.binary_cross_entropy_with_logits(half, half, pos_weight=w)):
        with pytest.raises(RuntimeError, match="not differentiable with respect to argument '(pos_)?weight'"):
            f()


def test_target_changed_in_place_is_noticed():
    x, t = fastnn.zeros(2, 3, requires_grad=True), fastnn.tensor([0, 1])
    y = F.cross_entropy(x, t)
    t.fill_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# ---- the losses of single elements, against PyTorch ------------------------------------------------------------------------------

ELEMENTS = [("mse_loss", {"weight": 1}), ("l1_loss", {}), ("l1_loss", {"weight": 1}), ("smooth_l1_loss", {}), ("smooth_l1_loss", {"beta": 0.3}),
            ("smooth_l1_loss", {"beta": 0.0}), ("huber_loss", {}), ("huber_loss", {"delta": 0.4}), ("huber_loss", {"weight": 1}), ("binary_cross_entropy", {}),
            ("binary_cross_entropy", {"weight": 1}), ("binary_cross_entropy_with_logits", {}), ("binary_cross_entropy_with_logits", {"weight": 1}),
            ("binary_cross_entropy_with_logits", {"pos_weight": 1}), ("mse_loss", {}), ("nll_loss", {}), ("cross_entropy", {}),
            ("binary_cross_entropy_with_logits", {"weight": 1, "pos_weight": 1}), ("kl_div", {}), ("kl_div", {"log_target": True})]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name, options", ELEMENTS, ids=str)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_parity(torch, name, options, reduction, dtype):
    n = (4, 5)
    x, t = (rng(5).random(20), rng(6).random(20)) if name == "binary_cross_entropy" else (rng().normal(0, 2, 20), rng(1).random(20))
    x, t = x.reshape(n).astype(dtype), t.reshape(n).astype(dtype)
    t = classes(n) if name in ("nll_loss", "cross_entropy") else t
    found = []
    for lib, f in ((fastnn, F), (torch, torch.nn.functional)):
        a, b = lib.tensor(x, requires_grad=True), lib.tensor(t)
        if t.dtype.kind == "f":
            b.requires_grad_()
        w = {k: lib.tensor(rng(7).random(n if k == "weight" else 5).astype(dtype)) if v == 1 and "weight" in k else v for k, v in options.items()}
        y = getattr(f, name)(a, b, reduction=reduction, **w)
        y.backward(lib.ones_like(y))
        found.append((y.detach().numpy(), a.grad.numpy(), b.grad.numpy() if t.dtype.kind == "f" else np.zeros(1)))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5 if dtype == "float32" else 1e-11, atol=1e-6 if dtype == "float32" else 1e-14)


PLAIN = [("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {"beta": 0.6}), ("huber_loss", {"delta": 2.5}), ("binary_cross_entropy", {}),
         ("binary_cross_entropy_with_logits", {}), ("kl_div", {}), ("kl_div", {"log_target": True}), ("gaussian_nll_loss", {"full": True, "eps": 0.3})]


def element_operands(name, n, dtype, seed):
    """Input, target, and a variance if there is one."""
    r = rng(seed)
    x, t, v = r.normal(0, 2, n), r.random(n), r.uniform(0.05, 2, n)
    return [a.astype(dtype) for a in ((r.random(n) if name == "binary_cross_entropy" else x), t, v)[:3 if name == "gaussian_nll_loss" else 2]]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("name, options", PLAIN, ids=str)
def test_elements_random_configurations(torch, isa, name, options):
    """Random shapes, layouts, reductions and weights; all gradients; the same bits for any number of threads."""
    for seed in range(12):
        r = rng(seed)
        n = tuple(int(k) for k in r.integers(1, 9, r.integers(0, 4))) if seed else (3, 5000)
        dtype, reduction = ("float32", "float64")[seed % 2], REDUCTIONS[seed % 3]
        operands, extra = element_operands(name, n, dtype, seed), {}
        if name.startswith("binary") and r.integers(2) and n:
            extra["weight"] = r.random(n[int(r.integers(len(n))):]).astype(dtype)
        if name.endswith("logits") and r.integers(2):
            extra["pos_weight"] = r.random(n[-1:]).astype(dtype)
        order = [int(d) for d in r.permutation(len(n))]

        def run(lib, threads=None):
            leaves = [lib.tensor(a, requires_grad=True) for a in operands]
            x = leaves[0].permute(*order).contiguous().permute(*[int(d) for d in np.argsort(order)]) if n else leaves[0]
            f = getattr(lib.nn.functional, name)
            y = f(x, *leaves[1:], reduction=reduction, **options, **{k: lib.tensor(w) for k, w in extra.items()})
            y.backward(lib.ones_like(y) * 0.7)
            return [np.ascontiguousarray(a) for a in (y.detach().numpy(), *[a.grad.numpy() for a in leaves])]
        theirs, first = run(torch), None
        for count in (1, 2, 3, 7):
            with machine(threads=count):
                ours = run(fastnn)
            first = first or ours
            same_bits(tuple(first), tuple(ours), f"{count} threads")
        for a, b in zip(first, theirs):
            rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-10, 1e-13)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"{seed} {n} {reduction} {extra}")


FAR = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 100, -100, 1e-20, 0.5, 1e4, -1e4])


@pytest.mark.parametrize("name, options", PLAIN, ids=str)
def test_elements_far_out(torch, isa, name, options):
    """Every pair of extreme values and finite targets, as PyTorch has it."""
    near, few = ([0, 1, 0.5, 1e-20, 1 - 1e-7], [0, 1, 0.3]) if name == "binary_cross_entropy" else (FAR, [0, 1, 0.3, 1e-20])
    x, t = (a.ravel() for a in np.meshgrid(np.float32(near), np.float32(few)))
    found = []
    for lib in (fastnn, torch):
        leaves = [lib.tensor(a, requires_grad=True) for a in (x, t, t)[:3 if name == "gaussian_nll_loss" else 2]]
        y = getattr(lib.nn.functional, name)(*leaves, reduction="none", **options)
        y.backward(lib.ones_like(y))
        found.append([y.detach().numpy(), *[a.grad.numpy() for a in leaves]])
    if name == "binary_cross_entropy_with_logits":           # PyTorch leaves the logarithm out of the target's slope without pos_weight
        for grads in found:
            grads[2] = np.where(np.isneginf(x), 0, grads[2])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_replay_with_a_bad_value_gives_nan(isa):
    """A replay cannot raise: probabilities outside [0, 1] and variances below 0 become NaN."""
    half = fastnn.full((5,), 0.5)
    for f, good, bad in ((lambda x: F.binary_cross_entropy(x, half, reduction="none"), 0.5, 1.5),
                         (lambda x: F.binary_cross_entropy(x, half, reduction="none"), 0.5, -0.1),
                         (lambda x: F.gaussian_nll_loss(half, half, x, reduction="none"), 0.5, -0.1)):
        step = fastnn.capture(f)
        while step.replays < 1:
            step(fastnn.full((5,), good))
        assert np.isnan(step(fastnn.full((5,), bad)).numpy()).all() and step.replays == 2


def test_gaussian_shapes(torch):
    """One variance for all, for each row, of a dimension that is 1; a target that is broadcast; NaN passes."""
    x, t = rng().normal(0, 1, (4, 3)), rng(1).normal(0, 1, (4, 3))
    for v in (0.7, np.full(4, 0.5), np.full((4, 1), 0.5), np.full((1, 3), 0.5), np.full((4, 3), np.nan)):
        given = [(lib.nn.functional.gaussian_nll_loss(lib.tensor(x), lib.tensor(t), v if isinstance(v, float) else lib.tensor(v), full=True)).item()
                 for lib in (fastnn, torch)]
        np.testing.assert_allclose(*given, rtol=1e-12)
    a, b = (lib.nn.functional.gaussian_nll_loss(lib.tensor(x), lib.tensor(t[0]), lib.tensor(abs(x)), reduction="none").numpy() for lib in (fastnn, torch))
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_kl_div_means():
    x, t = fastnn.tensor([[0.25, 0.75], [0.5, 0.5]]).log(), fastnn.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert F.kl_div(x, t, reduction="batchmean").item() == pytest.approx(-np.log(0.75) / 2, rel=1e-6)
    with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
        assert F.kl_div(x, t).item() == pytest.approx(-np.log(0.75) / 4, rel=1e-6)
    assert F.kl_div(x, t[1:], reduction="none").shape == (2, 2)


def test_certain_probabilities(torch):
    """At 0 and 1 the logarithms stop at -100 and the slope's divisor at 1e-12."""
    x, t = np.array([0, 0, 1, 1, 0.5], np.float32), np.array([0, 1, 0, 1, 1], np.float32)
    ours, theirs = fastnn.from_numpy(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y = F.binary_cross_entropy(ours, fastnn.from_numpy(t), reduction="none")
    z = torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(t), reduction="none")
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-6)


def test_logits_far_out(isa):
    x = fastnn.tensor([-1000.0, 1000.0, -1000.0, 1000.0], requires_grad=True)
    y = F.binary_cross_entropy_with_logits(x, fastnn.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
    assert y.tolist() == [0, 0, 1000, 1000]
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, -1, 1]


def test_broadcast_with_a_warning():
    x, t = fastnn.tensor([[1.0], [2.0]], requires_grad=True), fastnn.tensor([0.0, 4.0])
    with pytest.warns(UserWarning, match="Using a target size"):
        y = F.mse_loss(x, t)
    assert y.item() == (1 + 9 + 4 + 4) / 4
    y.backward()
    assert x.grad.tolist() == [[-1.0], [0.0]]


def test_promotion():
    x, t = fastnn.zeros(3, 2, requires_grad=True), fastnn.ones(3, 2, dtype=fastnn.float64)
    y = F.mse_loss(x, t)
    y.backward()
    assert y.dtype == fastnn.float64 and x.grad.dtype == fastnn.float32 and F.mse_loss(x, fastnn.ones(3, 2, dtype=fastnn.int64)).dtype == fastnn.float32
    assert F.cross_entropy(x, t / 2).dtype == fastnn.float64


def test_one_hot(torch):
    t = rng().integers(0, 5, (3, 4))
    np.testing.assert_array_equal(F.one_hot(fastnn.from_numpy(t), 6).numpy(), torch.nn.functional.one_hot(torch.tensor(t), 6).numpy())
    assert F.one_hot(fastnn.from_numpy(t)).shape == (3, 4, int(t.max()) + 1) and F.one_hot(fastnn.tensor(2), 3).tolist() == [0, 0, 1]
    captured = fastnn.capture(lambda t: F.one_hot(t, 6))
    for _ in range(4):
        same_bits(captured(fastnn.from_numpy(t)), F.one_hot(fastnn.from_numpy(t), 6))
    with pytest.raises(fastnn.CaptureError, match="one_hot"):
        fastnn.capture(lambda t: F.one_hot(t))(fastnn.from_numpy(t))


def test_dropout_follows_its_switches():
    x = fastnn.ones(1000)
    assert F.dropout(x, training=False) is x and set(F.dropout(x, 0.5).tolist()) == {0.0, 2.0}
    with machine(threads=1):
        y = fastnn.ones(1000)
        assert F.dropout(y, 0.5, inplace=True) is y and set(y.tolist()) == {0.0, 2.0}
