"""fastnn/ops/matmul.py: products of vectors, matrices and batches, einsum, gradients and errors."""
import numpy as np
import pytest

import fastnn
from check import check_op, same_bits
from fastnn import _core

ONCE = {"isas": _core.isas()[-1:], "threads": (1, 2)}                    # of check_op, the kernels themselves are tested in test_gemm.py

SHAPES = [((3,), (3,)), ((0,), (0,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)),
          ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
          ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((4, 0, 3), (3, 2)), ((0, 2, 3), (0, 3, 2)),
          ((2, 0), (0, 3)), ((7, 1, 3), (1, 3, 1))]


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


@pytest.mark.parametrize("dtype", (np.int64, np.int32, np.uint8))
@pytest.mark.parametrize("shapes", SHAPES + [((70, 90), (90, 60))], ids=str)
def test_integers_are_exact_and_wrap(dtype, shapes):
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    a, b = (rng.integers(limits.min, limits.max, n, dtype, endpoint=True) for n in shapes)
    np.testing.assert_array_equal(fastnn.matmul(fastnn.tensor(a), fastnn.tensor(b)).numpy(), np.matmul(a, b), strict=True)


EQUATIONS = ["ij,jk 23,34", "...ij,...jk->...ik 523,34", "...i,...i 523,513", "i...->... 523", "...i->i 523",
             "bij,bjk,bkl->bil 523,534,546", "ii 33", "ii->i 33",
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
    "inner": lambda f: f.matmul(zeros(f, 2, 3), zeros(f, 2, 3)), "vectors": lambda f: f.matmul(zeros(f, 3), zeros(f, 4)),
    "row": lambda f: f.matmul(zeros(f, 3), zeros(f, 4, 2)),
    "column": lambda f: f.matmul(zeros(f, 2, 3), zeros(f, 4)), "scalar": lambda f: f.matmul(zeros(f), zeros(f, 4)),
    "batches": lambda f: f.matmul(zeros(f, 2, 3, 4), zeros(f, 3, 4, 5)), "types": lambda f: zeros(f, 2, 3) @ zeros(f, 3, 2, dtype="float64"),
    "real and integer": lambda f: zeros(f, 2, 3) @ zeros(f, 3, 2, dtype="int64"),
    "bools": lambda f: zeros(f, 2, 3, dtype="bool") @ zeros(f, 3, 2, dtype="bool"),
    "number": lambda f: f.matmul(zeros(f, 2, 3), 2), "list": lambda f: zeros(f, 2, 3) @ [1, 2, 3], "mm vector": lambda f: f.mm(zeros(f, 2, 3), zeros(f, 3)),
    "mm inner": lambda f: f.mm(zeros(f, 2, 3), zeros(f, 2, 3)), "mm number": lambda f: f.mm(zeros(f, 2, 3), 5),
    "bmm batch": lambda f: f.bmm(zeros(f, 2, 3, 4), zeros(f, 3, 4, 5)),
    "bmm inner": lambda f: f.bmm(zeros(f, 2, 3, 4), zeros(f, 2, 3, 5)), "bmm matrix": lambda f: f.bmm(zeros(f, 2, 3), zeros(f, 2, 3)),
    "mv": lambda f: f.mv(zeros(f, 2, 3), zeros(f, 2)), "mv matrix": lambda f: f.mv(zeros(f, 2, 3), zeros(f, 3, 1)),
    "dot": lambda f: f.dot(zeros(f, 2), zeros(f, 3)),
    "dot matrix": lambda f: f.dot(zeros(f, 2, 1), zeros(f, 2)), "outer": lambda f: f.outer(zeros(f, 2), zeros(f, 3, 1)),
    "addmm shape": lambda f: f.addmm(zeros(f, 5), zeros(f, 2, 4), zeros(f, 4, 3)),
    "addmm dims": lambda f: f.addmm(zeros(f, 2, 2, 3), zeros(f, 2, 4), zeros(f, 4, 3)),
    "addmm type": lambda f: f.addmm(zeros(f, 3, dtype="float64"), zeros(f, 2, 4), zeros(f, 4, 3)),
    "out type": lambda f: f.mm(zeros(f, 2, 3), zeros(f, 3, 2), out=zeros(f, 2, 2, dtype="float64")),
    "einsum few": lambda f: f.einsum("ij,jk", zeros(f, 2, 3)), "einsum sizes": lambda f: f.einsum("ij,jk", zeros(f, 2, 3), zeros(f, 4, 4)),
    "einsum letter": lambda f: f.einsum("i1", zeros(f, 2, 1)), "einsum twice": lambda f: f.einsum("ij->ii", zeros(f, 2, 2)),
    "einsum new": lambda f: f.einsum("ij->k", zeros(f, 2, 2)),
    "einsum dot": lambda f: f.einsum("ij..->i", zeros(f, 2, 3)), "einsum repeated": lambda f: f.einsum("ii", zeros(f, 2, 3)),
    "einsum dims": lambda f: f.einsum("ijk", zeros(f, 2, 3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_of_torchs_class(torch, name):
    with pytest.raises(Exception) as theirs:
        WRONG[name](torch)
    with pytest.raises(type(theirs.value)):
        WRONG[name](fastnn)


@pytest.mark.parametrize("name, words", [("inner", r"\(2x3 and 2x3\)"), ("batches", r"\(2, 3, 4\) and \(3, 4, 5\)"),
                                         ("types", "float32 != float64"), ("bools", "bool"),
                                         ("bmm batch", r"\(2, 3, 4\).*\(3, 4, 5\)"), ("column", r"\(2, 3\).*\(4,\)"), ("einsum sizes", "j has size 4")])
def test_messages_tell_shapes_and_types(name, words):
    with pytest.raises((RuntimeError, TypeError), match=words):
        WRONG[name](fastnn)
