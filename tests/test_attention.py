"""csrc/attention.c, the checked calls over it, ops/attention.py: scaled dot product attention."""
import numpy as np
import pytest

import fastnn
import ref
from check import compare, everywhere, machine, same_bits
from fastnn import _core, kernels
from fastnn.nn import functional as F
from fastnn.ops.attention import apart

REALS = ("float32", "float64")
INF = float("inf")
attend = F.scaled_dot_product_attention


def operands(n, L, S, E, Ev, dtype="float64", seed=0):
    """q, k, v, dy"""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*n, *s)).astype(dtype) for s in ((L, E), (S, E), (S, Ev), (L, Ev))]


def masks(L, S):
    """Masks of every form; some rows attend to nothing."""
    rng = np.random.default_rng(L * S)
    some = rng.random((2, 1, L, S)) < 0.6
    some[:, :, L // 2] = False
    add = np.where(rng.random((3, L, S)) < 0.7, rng.standard_normal((3, L, S)), -INF)
    add[1, -1] = -INF
    return some, add, rng.random((2, 1, 1, S)) < 0.5, rng.standard_normal((L, 1)), np.array(True)


# Around the blocks: 64 keys; 64, 32, 16 or 8 queries, as many as four vectors hold. Few heads and long keys go by parts. Queries that
# fill half a vector or less have a form of their own, if the keys are many.
SHAPES = (((2, 3), 1, 1, 1, 1), ((2, 3), 7, 5, 3, 2), ((2, 3), 63, 64, 17, 8), ((2, 3), 65, 66, 4, 33), ((2, 3), 130, 129, 16, 16),
          ((20,), 33, 40, 32, 32), ((1,), 40, 300, 8, 8), ((), 200, 260, 5, 12), ((), 19, 530, 5, 3), ((3, 1, 2), 15, 17, 64, 20),
          ((2, 3), 1, 131, 17, 8), ((2,), 2, 2100, 5, 3), ((3,), 4, 90, 16, 33), ((2, 1), 8, 101, 40, 32), ((2,), 1, 40, 1100, 16))


def check(n, L, S, E, Ev, mask, causal, dtype, scale=0.4):
    arrays = operands(n, L, S, E, Ev, dtype)
    mask = mask.astype(dtype) if mask is not None and mask.dtype != bool else mask
    q, k, v, dy = map(fastnn.tensor, arrays)
    given = None if mask is None else fastnn.tensor(mask)

    def run():
        y, saved = _core.attention(q, k, v, given, causal, scale)
        return y, *_core.attention_backward(dy, saved, causal, scale)
    Q, K, V, DY = (a.astype(float) for a in arrays)
    y, grads = ref.attention_fwd(Q, K, V, mask, causal, scale), ref.attention_bwd(DY, Q, K, V, mask, causal, scale)
    for found in everywhere(run):
        compare(found[0], y, dtype, 30, np.abs(V).max())
        for name, g, want in zip(("dq", "dk", "dv"), found[1:], grads):
            compare(g, want, dtype, 200, max(np.abs(want).max(initial=0), 1), f"{name} of {n, L, S, E, Ev}")


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_its_meaning(shape, causal, dtype):
    check(*shape, None, causal, dtype, 0.4 if shape[3] < 1000 else 0.01)


@pytest.mark.parametrize("form", range(5))
@pytest.mark.parametrize("L, S", [(9, 70), (70, 9), (66, 131), (2, 70), (4, 131), (1, 1100)])
def test_masks_against_their_meaning(L, S, form):
    for causal in (False, True):
        check((2, 3), L, S, 8, 8, masks(L, S)[form], causal, "float32" if form % 2 else "float64")


def test_rows_that_attend_to_nothing_give_zeros_and_take_no_gradient():
    q, k, v, _ = (fastnn.tensor(a) for a in operands((2,), 4, 6, 3, 3))
    for mask in (fastnn.tensor(np.arange(4) != 2)[:, None], fastnn.tensor([0.0, 0.0, -INF, 0.0])[:, None].double()):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        y = attend(*leaves, mask)
        y.sum().backward()
        rows = [x.numpy()[:, 2] for x in (y.detach(), leaves[0].grad)]
        assert all((r == 0).all() for r in rows) and not (y.detach().numpy()[:, 3] == 0).any()
        assert all(np.isfinite(x.grad.numpy()).all() for x in leaves)


def test_sizes_of_zero():
    for n, L, S, E, Ev in (((2,), 0, 3, 4, 5), ((2,), 3, 0, 4, 5), ((2,), 3, 4, 0, 5), ((2,), 3, 4, 5, 0), ((0,), 3, 4, 5, 6)):
        arrays = operands(n, L, S, E, Ev)
        leaves = [fastnn.tensor(a).requires_grad_() for a in arrays[:3]]
        y = attend(*leaves)
        np.testing.assert_allclose(y.detach().numpy(), ref.attention_fwd(*arrays[:3], scale=1.0), atol=1e-14)
        y.sum().backward()
        for x, want in zip(leaves, ref.attention_bwd(np.ones_like(arrays[3]), *arrays[:3], scale=1.0)):
            np.testing.assert_allclose(x.grad.numpy(), want, atol=1e-14)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("step", [-30, -3, 3, 30])
def test_scores_that_change_from_block_to_block(step, dtype):
    """Sums are scaled anew only where a score lies far above those before: in no row, in some, in all; and where keys come late."""
    L, S = 70, 300
    q, k, v, dy = operands((2,), L, S, 4, 5, dtype)
    q[..., 0], k[..., 0] = np.linspace(-1, 1, L), np.arange(S) // 64 * step
    late = np.where(np.arange(S) < np.arange(L)[:, None] * 3, -INF, 0.0).astype(dtype)
    for mask in (None, late):
        t = [fastnn.tensor(a) for a in (q, k, v, dy)]
        given = None if mask is None else fastnn.tensor(mask)

        def run():
            y, saved = _core.attention(*t[:3], given, False, 1.0)
            return y, *_core.attention_backward(t[3], saved, False, 1.0)
        arrays = [a.astype(float) for a in (q, k, v)]
        wants = ref.attention_fwd(*arrays, mask, False, 1.0), *ref.attention_bwd(dy.astype(float), *arrays, mask, False, 1.0)
        for found in everywhere(run):
            for g, want in zip(found, wants):                          # a score of 120 is known to 120 roundings
                compare(g, want, dtype, 2000, max(np.abs(want).max(), 1))


@pytest.mark.parametrize("L, S", [(3, 70), (1, 300)])
def test_large_scores_do_not_overflow(L, S):
    q, k, v, _ = operands((1,), L, S, 4, 2)
    for size in (1e2, 1e18):
        y = attend(*(fastnn.tensor((a * s).astype("float32")) for a, s in ((q, size), (k, size), (v, 1)))).numpy()
        assert np.isfinite(y).all() and np.abs(y).max() <= np.abs(v).max() * 1.01
    k[0, 5] = np.nan
    y = attend(*map(fastnn.tensor, (q, k, v)), is_causal=True).numpy()
    assert np.isfinite(y).all()                                        # no query sees key 5


# ---- where operands lie ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("L, causal", [(70, False), (70, True), (2, False)])
@pytest.mark.parametrize("width", [24, 32, 1024])
def test_heads_of_rows_are_taken_where_they_lie(width, L, causal):
    """(N, L, H, E) as (N, H, L, E): no copy, the bits of dense operands, the result as rows again. Rows of 1024 lie a page apart."""
    N, S, H, E = 2, 70, 3, 8
    around = [fastnn.randn(N, rows, width) for rows in (L, S, S, L)]
    q, k, v, dy = (x[..., :H * E].unflatten(-1, (H, E)).transpose(1, 2) for x in around)

    def run(q, k, v):
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        y = attend(*leaves, is_causal=causal)
        return (y.detach(), *fastnn.autograd.grad(y, leaves, dy))
    captured = fastnn.capture(lambda: run(q, k, v))
    for _ in range(3):
        found = captured()
    assert {op for op, _ in captured.operations()[0]} == {"attention_fwd", "attention_bwd"}
    found = run(q, k, v)
    same_bits(found, run(*(x.contiguous() for x in (q, k, v))))
    assert all(x.transpose(1, 2).is_contiguous() for x in found)
    same_bits(found[0].transpose(1, 2).reshape(N, L, H * E), found[0].transpose(1, 2).contiguous().view(N, L, H * E))


@pytest.mark.parametrize("L", [1, 40])
@pytest.mark.parametrize("E", [13, 16])
def test_what_lies_between_rows_is_not_read(E, L):
    """Rows that begin whole vectors apart and do not fill them."""
    arrays = operands((2,), L, 70, E, E, "float32")
    around = [np.full((*a.shape[:-1], 16), np.nan, "float32") for a in arrays]
    for a, b in zip(arrays, around):
        b[..., :E] = a
    found = []
    for q, k, v, dy in (map(fastnn.tensor, arrays), (fastnn.tensor(b)[..., :E] for b in around)):
        y, saved = _core.attention(q, k, v, None, False, 0.3)
        found.append((y, *_core.attention_backward(dy, saved, False, 0.3)))
    same_bits(*found)


def test_leading_dimensions_broadcast():
    q, k, v, dy = operands((2, 3), 5, 6, 4, 4)
    k, v = k[:1], v[0]
    leaves = [fastnn.tensor(a).requires_grad_() for a in (q, k, v)]
    y = attend(*leaves)
    y.backward(fastnn.tensor(dy))
    whole = q, np.broadcast_to(k, (2, *k.shape[1:])), np.broadcast_to(v, (2, *v.shape))
    np.testing.assert_allclose(y.detach().numpy(), ref.attention_fwd(*whole), atol=1e-12)
    dq, dk, dv = ref.attention_bwd(dy, *whole)
    for x, want in zip(leaves, (dq, dk.sum(0, keepdims=True), dv.sum(0))):
        np.testing.assert_allclose(x.grad.numpy(), want, atol=1e-12)


def test_gradients_that_nobody_wants_are_not_made():
    q, k, v, dy = (fastnn.tensor(a) for a in operands((2,), 70, 300, 4, 4))
    whole = None
    for wanted in ((True, True, True), (True, False, False), (False, True, False), (False, False, True), (True, False, True)):
        y, saved = _core.attention(q, k, v, None, False, 0.5)
        grads = _core.attention_backward(dy, saved, False, 0.5, 0, *wanted)
        whole = whole or grads
        assert [g is not None for g in grads] == list(wanted)
        same_bits([g for g in grads if g is not None], [g for g, w in zip(whole, wanted) if w])


def test_scores_are_never_in_memory():
    q = fastnn.randn(2, 2048, 8, requires_grad=True)
    _core.reset_peak_memory()
    before = _core.memory_info()["in_use"]
    with machine(threads=2):
        attend(q, q, q).sum().backward()
    assert _core.memory_info()["peak_in_use"] - before < 2 * 2048 * 2048 * 4 / 4


def test_parts_whose_gradients_come_back_as_one():
    x = fastnn.arange(12.0).view(2, 6).requires_grad_()
    a, b, c = apart(x, (1, 3, 2), 1)
    assert (b == x[:, 1:4]).all() and b.shape == (2, 3)
    ((2 * a).sum() + (c * c).sum()).backward()
    assert x.grad.tolist() == [[2, 0, 0, 0, 8, 10], [2, 0, 0, 0, 20, 22]]


# ---- dropout -----------------------------------------------------------------------------------------------------------

def factor(n, L, S, p):
    """The factors of the next draw, seen through equal weights and values that tell keys apart."""
    q, k, v = (fastnn.zeros(*n, *s, dtype=fastnn.float64) for s in ((L, 1), (S, 1), (S, S)))
    v = v + fastnn.tensor(np.eye(S))
    return attend(q, k, v, dropout_p=p).numpy() * S


@pytest.mark.parametrize("causal", [False, True])
def test_dropout(causal):
    n, L, S, p = (2, 3), 70, 90, 0.3
    arrays = operands(n, L, S, 8, 5)
    fastnn.manual_seed(5)
    f = factor(n, L, S, p)
    assert np.allclose(f[f != 0], 1 / (1 - p)) and abs((f == 0).mean() - p) < 0.01
    assert abs(np.corrcoef(f[0, 0].ravel(), f[0, 1].ravel())[0, 1]) < 0.05
    q, k, v, dy = map(fastnn.tensor, arrays)

    def run():
        fastnn.manual_seed(5)
        y, saved = _core.attention(q, k, v, None, causal, 0.4, p)
        return y, *_core.attention_backward(dy, saved, causal, 0.4, p)
    said = {"causal": causal, "scale": 0.4, "factor": f}
    wants = ref.attention_fwd(*arrays[:3], **said), *ref.attention_bwd(arrays[3], *arrays[:3], **said)
    for found in everywhere(run):
        for y, want in zip(found, wants):
            np.testing.assert_allclose(y.numpy(), want, atol=1e-12)


def test_dropout_is_drawn_anew_by_each_call_and_each_replay():
    x = fastnn.randn(2, 20, 4, requires_grad=True)

    def step():
        y = attend(x, x, x, dropout_p=0.5)
        return (y.detach(), *fastnn.autograd.grad(y.sum(), [x]))
    fastnn.manual_seed(1)
    eager = [step() for _ in range(4)]
    fastnn.manual_seed(1)
    captured = fastnn.capture(step)
    for i, found in enumerate(eager):
        same_bits(found, captured(), f"call {i}")
    assert captured.replays and not (eager[0][0] == eager[1][0]).all()
    assert (attend(x, x, x, dropout_p=1.0) == 0).all()


# ---- a mask with a gradient ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("causal", [False, True])
def test_gradient_of_the_mask(causal):
    arrays, rng = operands((2,), 4, 5, 3, 3), np.random.default_rng(1)
    mask = rng.standard_normal((4, 5))
    mask[2] = -INF
    leaves = [fastnn.tensor(a).requires_grad_() for a in (*arrays[:3], mask)]
    y = attend(*leaves, is_causal=causal)
    y.backward(fastnn.tensor(arrays[3]))
    compare(y, ref.attention_fwd(*arrays[:3], mask, causal), "float64", 100, 4)
    for x, want in zip(leaves, ref.attention_bwd(arrays[3], *arrays[:3], mask, causal)):
        compare(x.grad, want, "float64", 100, 4)
    at, h = (1, 0), 1e-6
    up, down = (np.array(mask) for _ in range(2))
    up[at] += h
    down[at] -= h
    slope = np.sum(arrays[3] * (ref.attention_fwd(*arrays[:3], up, causal) - ref.attention_fwd(*arrays[:3], down, causal))) / (2 * h)
    assert abs(leaves[3].grad.numpy()[at] - slope) < 1e-7 and (leaves[3].grad.numpy()[2] == 0).all()


# ---- against PyTorch -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(20))
def test_as_pytorch(torch, seed):
    rng = np.random.default_rng(seed)
    n = [int(i) for i in rng.integers(1, 4, rng.integers(0, 3))]
    L, S, E, Ev = (int(i) for i in rng.integers(1, rng.choice([9, 80, 150]), 4))
    q, k, v, dy = operands(n, L, S, E, Ev, seed=seed)
    mask = (None, rng.random((L, S)) < 0.7, rng.standard_normal((*n, L, S)), rng.random((1, S)) < 0.7)[seed % 4]
    options = {"is_causal": mask is None and bool(rng.integers(2)), "scale": float(rng.choice([0.2, 1.5])) if seed % 3 else None}
    found = []
    for lib in (fastnn, torch):
        leaves = [lib.from_numpy(a.copy()).requires_grad_() for a in (q, k, v)]
        y = lib.nn.functional.scaled_dot_product_attention(*leaves, None if mask is None else lib.from_numpy(mask), **options)
        y.backward(lib.from_numpy(dy))
        found.append([y.detach().numpy(), *(x.grad.numpy() for x in leaves)])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


# ---- what does not fit -----------------------------------------------------------------------------------------------------

def z(*shape, dtype=fastnn.float32):
    return fastnn.zeros(*shape, dtype=dtype)


@pytest.mark.parametrize("args, options, error, said", [
    ((z(3), z(5, 3), z(5, 3)), {}, RuntimeError, r"query \(\.\.\., L, E\)=\(3,\).*at least 2 dimensional"),
    ((z(3, 4), z(5, 3), z(5, 3)), {}, RuntimeError, r"query has E=4, but key has E=3"),
    ((z(3, 4), z(5, 4), z(6, 4)), {}, RuntimeError, r"key has S=5, but value has S=6"),
    ((z(2, 3, 4), z(3, 5, 4), z(3, 5, 4)), {}, RuntimeError, r"\(2, 3, 4\).*leading dimensions do not broadcast"),
    ((z(3, 4), z(5, 4), z(5, 4, dtype=fastnn.float64)), {}, RuntimeError, "to have the same dtype"),
    ((z(3, 4, dtype=fastnn.int64),) * 3, {}, NotImplementedError, "int64"),
    ((z(3, 4), z(5, 4), z(5, 4), z(3, 4)), {}, RuntimeError, r"attn_mask \(3, 4\) does not broadcast to \(\.\.\., L, S\)=\(3, 5\)"),
    ((z(3, 4), z(5, 4), z(5, 4), z(2, 3, 5)), {}, RuntimeError, "does not broadcast"),
    ((z(3, 4), z(5, 4), z(5, 4), z(3, 5, dtype=fastnn.float64)), {}, RuntimeError, "attn_mask dtype"),
    ((z(3, 4), z(5, 4), z(5, 4), z(3, 5, dtype=fastnn.int64)), {}, RuntimeError, "attn_mask dtype"),
    ((z(3, 4), z(5, 4), z(5, 4)), {"dropout_p": 1.5}, RuntimeError, "between 0 and 1, but got 1.5"),
    ((z(3, 4), z(5, 4), z(5, 4)), {"scale": "1"}, TypeError, "'scale' must be a number, got str"),
    ((z(3, 4), z(5, 4), z(5, 4)), {"enable_gqa": True}, NotImplementedError, "enable_gqa: not supported"),
    (([1.0], z(5, 4), z(5, 4)), {}, TypeError, "'query' must be Tensor, not list"),
    ((z(3, 4), z(5, 4), z(5, 4), z(4, 4).requires_grad_()), {}, RuntimeError, "does not broadcast")])
def test_what_does_not_fit(args, options, error, said):
    with pytest.raises(error, match=said):
        attend(*args, **options)


def test_a_gradient_that_does_not_fit():
    q = fastnn.zeros(3, 4)
    _, saved = _core.attention(q, q, q, None, False, 1.0)
    with pytest.raises(RuntimeError, match=r"the gradient \(4, 3\)"):
        _core.attention_backward(q.t(), saved, False, 1.0)


# ---- fastnn.kernels ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", REALS)
def test_kernels(dtype):
    q, k, v, dy = operands((2, 3), 9, 70, 4, 5, dtype)
    mask = np.random.default_rng(0).random((9, 70)) < 0.7
    y, saved = kernels.scaled_dot_product_attention_forward(q, k, v, mask, causal=True, scale=0.7)
    Q, K, V, DY = (a.astype(float) for a in (q, k, v, dy))
    compare(y, ref.attention_fwd(Q, K, V, mask, True, 0.7), dtype, 30, np.abs(V).max())
    for g, want in zip(kernels.scaled_dot_product_attention_backward(dy, saved), ref.attention_bwd(DY, Q, K, V, mask, True, 0.7)):
        compare(g, want, dtype, 100, np.abs(want).max())
    out = np.empty_like(y)
    a, _ = kernels.scaled_dot_product_attention_forward(q, k, v, dropout=0.4, seed=3, count=2, out=out)
    b, _ = kernels.scaled_dot_product_attention_forward(q, k, v, dropout=0.4, seed=3, count=2)
    c, _ = kernels.scaled_dot_product_attention_forward(q, k, v, dropout=0.4, seed=3, count=3)
    assert a is out and (a == b).all() and not (b == c).all()
    nothing, saved = kernels.scaled_dot_product_attention_forward(q, k, v, dropout=1.0)
    assert not nothing.any() and not any(g.any() for g in kernels.scaled_dot_product_attention_backward(dy, saved))
    for other in ((q[:1], k, v), (q, k[:, :1], v), (q, k, v[:1])):
        with pytest.raises(RuntimeError, match="leading dimensions differ"):
            kernels.scaled_dot_product_attention_forward(*other)
    with machine(threads=3), pytest.raises(TypeError, match="q: expected a NumPy array"):
        kernels.scaled_dot_product_attention_forward([1.0], k, v)
