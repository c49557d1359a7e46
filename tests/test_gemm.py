"""csrc/gemm.c, _core.gemm and fastnn/ops/matmul.py: products of any shape and strides, their epilogues, gradients and errors."""
import random

import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, check_op, compare, machine, same_bits
from fastnn import _core

ACTS = ("none", "relu", "sigmoid", "tanh")
SIZES = (1, 2, 3, 5, 8, 13, 14, 15, 16, 17, 28, 31, 32, 33, 48, 64, 65, 71, 100, 129)
DEPTHS = (0, 1, 2, 3, 7, 16, 17, 64, 100, 257, 300)


def operand(rng, shape, dtype, order):
    """An array (batch, rows, columns) as a tensor of that order in memory, within a larger one full of NaN."""
    n, r, c = shape
    if order == "columns":
        around = np.full((n, c, r + 3), np.nan, dtype)
        x = around[:, :, 1:r + 1].transpose(0, 2, 1)
    elif order == "apart":
        around = np.full((n, 2 * r + 1, 3 * c + 2), np.nan, dtype)
        x = around[:, 1:2 * r + 1:2, 2:3 * c + 2:3]
    else:
        around = np.full((n, r + 1, c + (order == "rows")), np.nan, dtype)
        x = around[:, :r, :c]
    x[...] = rng.standard_normal(shape)
    return fastnn.from_numpy(x), x.astype(np.float64)


def product_everywhere(a, b, A, B, bias=None, act=0, start=None, what=""):
    """gemm on every instruction set and number of threads against its meaning: the same bits for all threads, nothing else written."""
    dtype = a.dtype.name
    want = ref.gemm(A, B, None if start is None else start.astype(float), None if bias is None else bias.numpy().astype(float), ACTS[act])
    bound = np.abs(A) @ np.abs(B) + 3
    for isa in _core.isas():
        first = None
        for n in THREADS:
            with machine(isa, n):
                out = None if start is None else fastnn.tensor(start)
                y = _core.gemm(a, b, bias, act, out, start is not None)
            if first is None:
                compare(y, want, dtype, tol=4 + 2 * A.shape[-1] ** 0.5, bound=bound, what=f"{what} {isa}")
            first = y if first is None else first
            same_bits(first, y, f"{what} {isa}, {n} threads")


@pytest.mark.parametrize("seed", range(60))
def test_random_products(seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    M, N, K, batch = draw.choice(SIZES), draw.choice(SIZES), draw.choice(DEPTHS), draw.choice((1, 1, 1, 2, 5))
    orders, dtype, act = draw.choices(("dense", "rows", "columns", "apart"), k=2), draw.choice((np.float32, np.float64)), draw.choice((0, 0, 1, 2, 3))
    (a, A), (b, B) = operand(rng, (batch, M, K), dtype, orders[0]), operand(rng, (batch, K, N), dtype, orders[1])
    bias = fastnn.tensor(rng.standard_normal(N).astype(dtype)) if draw.random() < 0.5 else None
    start = rng.standard_normal((batch, M, N)).astype(dtype) if draw.random() < 0.5 else None
    product_everywhere(a, b, A, B, bias, act, start, f"{batch}x{M}x{N}x{K} {orders} {ACTS[act]} bias={bias is not None} accumulate={start is not None}")


@pytest.mark.parametrize("M, N, K, orders", [
    (300, 290, 260, ("dense", "dense")), (130, 600, 40, ("columns", "dense")), (300, 300, 300, ("columns", "columns")),      # blocks, packed and not
    (3, 4, 9000, ("dense", "columns")), (20, 30, 3000, ("columns", "dense")), (1, 700, 1500, ("dense", "dense")),             # parts of k
    (1, 1, 70000, ("dense", "dense")), (1, 515, 800, ("dense", "columns")), (515, 1, 800, ("dense", "dense")),               # dot products
    (4, 70, 600, ("dense", "columns")), (70, 7, 600, ("rows", "columns")), (515, 1, 800, ("columns", "dense")), (2, 0, 5, ("dense", "dense"))], ids=str)
def test_each_form(M, N, K, orders):
    rng = np.random.default_rng(0)
    (a, A), (b, B) = operand(rng, (1, M, K), np.float32, orders[0]), operand(rng, (1, K, N), np.float32, orders[1])
    bias, start = fastnn.tensor(rng.standard_normal(N).astype(np.float32)), rng.standard_normal((1, M, N)).astype(np.float32)
    product_everywhere(a, b, A, B, bias, 1, None, f"{M}x{N}x{K}")
    product_everywhere(a, b, A, B, bias, 3, start, f"{M}x{N}x{K}, accumulating")


def test_bits_of_a_row_do_not_depend_on_its_neighbours(isa):
    """Where a tile, a strip or a block begins is not seen: the first rows of a tall product are those of a lower one of the same form."""
    rng = np.random.default_rng(0)
    a, b = fastnn.tensor(rng.standard_normal((300, 70)).astype(np.float32)), fastnn.tensor(rng.standard_normal((70, 90)).astype(np.float32))
    whole = a @ b
    for rows in (15, 29, 64, 141, 299):
        same_bits(whole[:rows], a[:rows] @ b)
        same_bits(whole[-rows:], a[-rows:] @ b)


def test_packed_weight_gives_the_same_bits(isa):
    rng = np.random.default_rng(0)
    for M, N, K in ((1, 5, 3), (7, 300, 90), (33, 70, 1030), (150, 33, 17), (2, 64, 2000)):
        x, w, b = [fastnn.tensor(rng.standard_normal(n).astype(np.float32)) for n in ((M, K), (N, K), (N,))]
        packed = _core.linear_pack(w)
        for n in THREADS:
            with machine(isa, n):
                same_bits(_core.linear_fwd(x, w, b, 1), _core.linear_fwd(x, w, b, 1, packed))
    with pytest.raises(ValueError, match=r"packed is a float32 weight \(64, 2000\).*\(64, 1999\)"):
        _core.linear_fwd(x[:, 1:], w[:, 1:], None, 0, packed)
    for other in _core.isas():
        if other != isa:
            with machine(other), pytest.raises(ValueError, match=f"for {isa}.*instruction set is {other}"):
                _core.linear_fwd(x, w, None, 0, packed)


@pytest.mark.parametrize("shape", [(3, 4, 40), (20, 5, 300), (2, 600, 33)])
def test_nan_and_infinity(isa, shape):
    """Each result with what it owes to NaN and infinity, and no other."""
    M, N, K = shape
    rng = np.random.default_rng(0)
    for bad in (np.nan, np.inf, -np.inf):
        a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
        a[1, K // 2] = b[K - 1, N - 1] = bad
        for act in range(4):
            y = _core.gemm(fastnn.tensor(a), fastnn.tensor(b), None, act).numpy()
            with np.errstate(invalid="ignore"):
                compare(y, ref.gemm(a.astype(float), b.astype(float), act=ACTS[act]), "float32", tol=60, bound=9, what=f"{bad} {ACTS[act]}")


def test_out(isa, threads):
    a, b = fastnn.randn(9, 17), fastnn.randn(17, 12)
    want, around = a @ b, fastnn.full((11, 14), 7.0)
    y = around[1:-1, 1:-1]
    assert fastnn.matmul(a, b, out=y) is y
    same_bits(y, want)
    y.fill_(7)
    assert (around == 7).all()
    square, other = fastnn.randn(9, 9), fastnn.randn(9, 9)
    want = square @ other
    fastnn.mm(square, other, out=square)                                 # over an operand
    same_bits(square, want)
    with pytest.raises(RuntimeError, match=r"out \(3, 3\)"):
        fastnn.mm(square, other, out=fastnn.empty(3, 3))
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        fastnn.mm(square.requires_grad_(), other, out=fastnn.empty(9, 9))


ONCE = {"isas": _core.isas()[-1:], "threads": (1, 2)}                    # of check_op, where the kernel itself was tested above

# ---- the functions -------------------------------------------------------------------------------------------------------

SHAPES = [((3,), (3,)), ((0,), (0,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
          ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((4, 0, 3), (3, 2)), ((0, 2, 3), (0, 3, 2)), ((2, 0), (0, 3)), ((7, 1, 3), (1, 3, 1))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(n) for n in shapes)
    layouts = ("contiguous", "transposed", "sliced") if a.size and b.size else ("contiguous",)
    check_op(fastnn.matmul, np.matmul, a, b, op="gemm", tol=8, bound=lambda a, b: np.matmul(np.abs(a), np.abs(b)), grads=(0, 1), layouts=layouts, **ONCE)


def test_other_products():
    rng = np.random.default_rng(0)
    options = {"tol": 9, "grads": (0, 1), "layouts": ("contiguous", "sliced"), "bound": lambda *x: 9, **ONCE}
    x, y, m, n, p, q = (rng.uniform(-1, 1, s) for s in ((4,), (4,), (3, 4), (4, 5), (2, 3, 4), (2, 4, 5)))
    check_op(fastnn.dot, np.dot, x, y, **options)
    check_op(fastnn.outer, np.outer, x, rng.standard_normal(7), **options)
    check_op(fastnn.mv, np.dot, m, x, **options)
    check_op(fastnn.mm, np.dot, m, n, **options)
    check_op(fastnn.bmm, np.matmul, p, q, **options)
    options |= {"grads": (0, 1, 2), "layouts": ("sliced",), "dtypes": ("float64",)}
    for c in (rng.standard_normal(5), rng.standard_normal((3, 1)), rng.standard_normal((3, 5))):
        check_op(fastnn.addmm, lambda c, m, n: c + m @ n, c, m, n, **options)
        check_op(lambda c, m, n: fastnn.addmm(c, m, n, beta=0.5, alpha=-2), lambda c, m, n: 0.5 * c - 2 * (m @ n), c, m, n, **options)
        check_op(fastnn.baddbmm, lambda c, p, q: c + p @ q, c, p, q, **options)
    assert not fastnn.addmm(fastnn.tensor(float("nan")), fastnn.ones(2, 3), fastnn.ones(3, 2), beta=0).isnan().any()


@pytest.mark.parametrize("dtype", (np.int64, np.int32, np.uint8))
@pytest.mark.parametrize("shapes", SHAPES + [((70, 90), (90, 60))], ids=str)
def test_integers_are_exact_and_wrap(dtype, shapes):
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    a, b = (rng.integers(limits.min, limits.max, n, dtype, endpoint=True) for n in shapes)
    np.testing.assert_array_equal(fastnn.matmul(fastnn.tensor(a), fastnn.tensor(b)).numpy(), np.matmul(a, b), strict=True)


EQUATIONS = ["ij,jk 23,34", "...ij,...jk->...ik 523,34", "...i,...i 523,513", "i...->... 523", "...i->i 523", "bij,bjk,bkl->bil 523,534,546", "ii 33", "ii->i 33",
             "iij,jj->i 334,44", "ij,kl-> 23,45", "ij,ij->ji 23,23", "a,b,c->cab 2,3,4", "ij,jk->k 21,44", "...,... 23,3", "b...i,ij->b...j 2563,34", "i,i 0,0",
             "ij,jk 20,03", "ba 23", "bhid,bhjd->bhij 2234,2254", "zA,Ab 23,34", "...a,b->...ab 23,4", "i , i -> 3,3"]


@pytest.mark.parametrize("line", EQUATIONS)
def test_einsum(line):
    equation, _, shapes = line.rpartition(" ")
    rng = np.random.default_rng(0)
    operands = [rng.uniform(-1, 1, [int(n) for n in s]) for s in shapes.split(",")]
    numpys = equation.replace("...i->i", "abi->i")                       # NumPy does not sum over an ellipsis
    check_op(lambda *x: fastnn.einsum(equation, *x), lambda *x: np.einsum(numpys, *x), *operands, tol=20, bound=lambda *x: 20, dtypes=("float64",),
             grads=tuple(range(len(operands))), layouts=("contiguous",), **ONCE)
    same_bits(fastnn.einsum(equation, [fastnn.tensor(x) for x in operands]), fastnn.einsum(equation, *map(fastnn.tensor, operands)))


def zeros(f, *shape, dtype="float32"):
    return f.zeros(shape, dtype=getattr(f, dtype))


WRONG = {
    "inner": lambda f: f.matmul(zeros(f, 2, 3), zeros(f, 2, 3)), "vectors": lambda f: f.matmul(zeros(f, 3), zeros(f, 4)), "row": lambda f: f.matmul(zeros(f, 3), zeros(f, 4, 2)),
    "column": lambda f: f.matmul(zeros(f, 2, 3), zeros(f, 4)), "scalar": lambda f: f.matmul(zeros(f), zeros(f, 4)),
    "batches": lambda f: f.matmul(zeros(f, 2, 3, 4), zeros(f, 3, 4, 5)), "types": lambda f: zeros(f, 2, 3) @ zeros(f, 3, 2, dtype="float64"),
    "real and integer": lambda f: zeros(f, 2, 3) @ zeros(f, 3, 2, dtype="int64"), "bools": lambda f: zeros(f, 2, 3, dtype="bool") @ zeros(f, 3, 2, dtype="bool"),
    "number": lambda f: f.matmul(zeros(f, 2, 3), 2), "list": lambda f: zeros(f, 2, 3) @ [1, 2, 3], "mm vector": lambda f: f.mm(zeros(f, 2, 3), zeros(f, 3)),
    "mm inner": lambda f: f.mm(zeros(f, 2, 3), zeros(f, 2, 3)), "mm number": lambda f: f.mm(zeros(f, 2, 3), 5), "bmm batch": lambda f: f.bmm(zeros(f, 2, 3, 4), zeros(f, 3, 4, 5)),
    "bmm inner": lambda f: f.bmm(zeros(f, 2, 3, 4), zeros(f, 2, 3, 5)), "bmm matrix": lambda f: f.bmm(zeros(f, 2, 3), zeros(f, 2, 3)),
    "mv": lambda f: f.mv(zeros(f, 2, 3), zeros(f, 2)), "mv matrix": lambda f: f.mv(zeros(f, 2, 3), zeros(f, 3, 1)), "dot": lambda f: f.dot(zeros(f, 2), zeros(f, 3)),
    "dot matrix": lambda f: f.dot(zeros(f, 2, 1), zeros(f, 2)), "outer": lambda f: f.outer(zeros(f, 2), zeros(f, 3, 1)),
    "addmm shape": lambda f: f.addmm(zeros(f, 5), zeros(f, 2, 4), zeros(f, 4, 3)), "addmm dims": lambda f: f.addmm(zeros(f, 2, 2, 3), zeros(f, 2, 4), zeros(f, 4, 3)),
    "addmm type": lambda f: f.addmm(zeros(f, 3, dtype="float64"), zeros(f, 2, 4), zeros(f, 4, 3)), "out type": lambda f: f.mm(zeros(f, 2, 3), zeros(f, 3, 2), out=zeros(f, 2, 2, dtype="float64")),
    "einsum few": lambda f: f.einsum("ij,jk", zeros(f, 2, 3)), "einsum sizes": lambda f: f.einsum("ij,jk", zeros(f, 2, 3), zeros(f, 4, 4)),
    "einsum letter": lambda f: f.einsum("i1", zeros(f, 2, 1)), "einsum twice": lambda f: f.einsum("ij->ii", zeros(f, 2, 2)), "einsum new": lambda f: f.einsum("ij->k", zeros(f, 2, 2)),
    "einsum dot": lambda f: f.einsum("ij..->i", zeros(f, 2, 3)), "einsum repeated": lambda f: f.einsum("ii", zeros(f, 2, 3)), "einsum dims": lambda f: f.einsum("ijk", zeros(f, 2, 3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_of_torchs_class(torch, name):
    with pytest.raises(Exception) as theirs:
        WRONG[name](torch)
    with pytest.raises(type(theirs.value)):
        WRONG[name](fastnn)


@pytest.mark.parametrize("name, words", [("inner", r"\(2x3 and 2x3\)"), ("batches", r"\(2, 3, 4\) and \(3, 4, 5\)"), ("types", "float32 != float64"), ("bools", "bool"),
                                         ("bmm batch", r"\(2, 3, 4\).*\(3, 4, 5\)"), ("column", r"\(2, 3\).*\(4,\)"), ("einsum sizes", "j has size 4")])
def test_messages_tell_shapes_and_types(name, words):
    with pytest.raises((RuntimeError, TypeError), match=words):
        WRONG[name](fastnn)
