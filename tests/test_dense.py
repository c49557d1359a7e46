"""csrc/dense.c and the checked calls over it: y = act(x w' + b), dx, dw and db."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, machine, same_bits
from fastnn import _core
from fastnn.nn import functional as F

SHAPES = ((1, 1, 1), (32, 32, 16), (32, 4, 32), (17, 33, 65), (64, 10, 130), (70, 150, 33), (1, 300, 784), (9, 200, 301),
          (64, 256, 300), (0, 3, 4), (3, 0, 4), (3, 4, 0))
LONG = ((1300, 3, 5), (5000, 40, 2), (1030, 70, 1))                      # rows that are summed in parts
MET = ((1, 512, 512), (1, 200, 700), (1, 131, 1100), (9, 512, 512), (64, 300, 520), (41, 129, 1100))     # few rows, whose gradient is


def operands(M, N, K, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(n).astype(dtype) for n in ((M, K), (N, K), (N,), (M, N))]


def everywhere(run):
    """run() on each instruction set and number of threads; for all threads the same bits."""
    for isa in _core.isas():
        first = None
        for n in THREADS:
            with machine(isa, n):
                y = run()
            first = y if first is None else first
            same_bits(first, y, f"{isa}, {n} threads")
        yield y


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("M, N, K", SHAPES + LONG + MET)
def test_forward_and_both_backwards(M, N, K, dtype):
    arrays = operands(M, N, K, dtype)
    x, w, b, dy = map(fastnn.tensor, arrays)
    X, W, B, DY = (a.astype(float) for a in arrays)
    name, sizes = dtype.__name__, [np.abs(a) for a in (X, W, B, DY)]
    for act, kind in enumerate(ref.ACT):
        for y in everywhere(lambda: _core.linear_fwd(x, w, b, act)):
            compare(y, ref.dense_fwd(X, W, B, kind), name, tol=6 + K ** 0.5, bound=sizes[0] @ sizes[1].T + sizes[2] + 1, what=f"forward {kind}")
    for y in everywhere(lambda: _core.linear_fwd(x, w)):
        compare(y, ref.dense_fwd(X, W), name, tol=6 + K ** 0.5, bound=sizes[0] @ sizes[1].T, what="forward")
    for dx in everywhere(lambda: _core.linear_bwd_x(dy, w)):
        compare(dx, ref.dense_bwd_x(DY, W), name, tol=6 + N ** 0.5, bound=sizes[3] @ sizes[1], what="dx")
    for dw, db in everywhere(lambda: _core.linear_bwd_w(dy, x, True)):
        compare(dw, ref.dense_bwd_w(DY, X)[0], name, tol=6 + M ** 0.5, bound=sizes[3].T @ sizes[0], what="dw")
        compare(db, DY.sum(0), name, tol=6 + M ** 0.5, bound=sizes[3].sum(0), what="db")
        assert _core.linear_bwd_w(dy, x, False)[1] is None
        alone = _core.linear_bwd_w(dy, x, True, False)
        assert alone[0] is None
        same_bits(alone[1], _core.linear_bwd_w(dy, x, True)[1])


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3), (3, 1, 2), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("layout", ("dense", "apart", "turned"))
def test_leading_dimensions_and_strides(lead, layout):
    """Any leading dimensions, x, w and b of any strides: the bits of the plain call, and gradients in the leaves' shapes."""
    rng = np.random.default_rng(0)

    def lay(*n):
        a = rng.standard_normal(n).astype(np.float32)
        if layout == "apart":
            around = np.full([2 * k + 1 for k in n], np.nan, np.float32)
            view = around[tuple(slice(1, None, 2) for _ in n)]
            view[...] = a
            return fastnn.from_numpy(view), a
        return fastnn.from_numpy(np.asfortranarray(a) if layout == "turned" else a), a
    (x, X), (w, W), (b, B) = lay(*lead, 5), lay(7, 5), lay(7)
    rows = fastnn.tensor(np.ascontiguousarray(X.reshape(-1, 5)))
    plain = F.linear(rows, fastnn.tensor(W), fastnn.tensor(B))
    assert tuple(F.linear(x, w, b).shape) == lead + (7,)
    same_bits(F.linear(x, w, b).reshape(-1, 7), plain)
    leaves = [t.requires_grad_() for t in (x, w, b)]
    DY = rng.standard_normal((*lead, 7)).astype(np.float32)
    F.linear(*leaves).backward(fastnn.from_numpy(np.asfortranarray(DY)))
    flat = DY.reshape(-1, 7).astype(float)
    for t, want in zip(leaves, ((flat @ W).reshape(*lead, 5), flat.T @ X.reshape(-1, 5), flat.sum(0))):
        compare(t.grad, want, "float32", tol=9, bound=np.abs(want) + 2)


def test_rows_of_a_wider_array_are_read_where_they_lie():
    """Columns of a matrix, a window of a sequence: nothing is copied."""
    wide = fastnn.randn(6, 4, 20)
    w, step = fastnn.randn(3, 8), fastnn.capture(lambda x, w: F.linear(x[..., 5:13], w))
    for x in (wide, wide.reshape(24, 20)):
        same_bits(step(x, w), F.linear(x[..., 5:13].clone(), w))
    assert all([op for op, _ in ops if op == "copy"] == [] for ops in step.operations())


def test_long_sums_are_accurate():
    """Parts keep the error of a long sum small: 200000 equal terms in float32."""
    x, dy = fastnn.full((200000, 2), 0.1), fastnn.full((200000, 3), 0.7)
    dw, db = _core.linear_bwd_w(dy, x, True)
    np.testing.assert_allclose(dw.numpy(), 200000 * float(np.float32(0.1)) * float(np.float32(0.7)), rtol=1e-4)
    np.testing.assert_allclose(db.numpy(), 200000 * float(np.float32(0.7)), rtol=1e-5)


def test_gradients_only_where_needed():
    x, w, b = fastnn.randn(4, 3), fastnn.randn(2, 3), fastnn.randn(2)
    for needs in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        leaves = [t.detach().requires_grad_(n) for t, n in zip((x, w, b), needs)]
        y = F.linear(*leaves)
        assert y.requires_grad == any(needs)
        if any(needs):
            y.sum().backward()
        assert [t.grad is not None for t in leaves] == list(needs)


def test_integers_and_vectors_as_weight():
    a, w, b = (fastnn.tensor(v) for v in ([[1, 2], [3, 4]], [[5, 6], [7, 8], [9, 1]], [1, 1, 1]))
    assert F.linear(a, w, b).tolist() == [[18, 24, 12], [40, 54, 32]]
    assert F.linear(fastnn.tensor([[1., 2.]]), fastnn.tensor([3., 4.]), fastnn.tensor(1.)).tolist() == [12]


@pytest.mark.parametrize("x, w, b, words", [
    ((8, 5), (3, 4), None, r"in_features\)=\(8, 5\) has in_features=5.*\(3, 4\) needs 4"), ((2, 4), (3, 4), (4,), r"bias \(4,\) must have shape \(3,\)"),
    ((2, 4), (3, 4), (3, 1), r"bias \(3, 1\)"), ((), (3, 4), None, r"\(\)"), ((2, 4), (2, 3, 4), None, "2 dimensions")])
def test_messages(x, w, b, words):
    with pytest.raises(RuntimeError, match=words):
        F.linear(fastnn.zeros(x), fastnn.zeros(w), None if b is None else fastnn.zeros(b))
    with pytest.raises(TypeError, match="linear.*weight.*list"):
        F.linear(fastnn.zeros(2, 4), [[1.0]])


def test_types_must_agree():
    x, w, b = fastnn.zeros(2, 4), fastnn.zeros(3, 4), fastnn.zeros(3)
    for args in ((x.double(), w, b), (x, w.double(), b), (x, w, b.double())):
        with pytest.raises(RuntimeError, match="float(32|64).*float(32|64)"):
            F.linear(*args)


def test_backward_calls_name_their_shapes():
    with pytest.raises(RuntimeError, match=r"\(2, 5\).*\(3, 4\)"):
        _core.linear_bwd_x(fastnn.zeros(2, 5), fastnn.zeros(3, 4))
    with pytest.raises(RuntimeError, match=r"\(2, 5\).*\(3, 4\)"):
        _core.linear_bwd_w(fastnn.zeros(2, 5), fastnn.zeros(3, 4))
