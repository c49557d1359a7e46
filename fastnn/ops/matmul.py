"""Matrix products and the dense layer's function, with their gradients. Reals run on the kernels; integers take a plain road."""
import builtins
import math
import string

from .. import _core
from .._core import attach, needs_grad
from . import create, shape
from .promote import reduce_to, tensor_only


def _tensors(name, **operands):
    for argument, x in operands.items():
        tensor_only(x, name, argument)


def _sizes(x):
    return tuple(x.shape)


# ---- dense layer -------------------------------------------------------------------------------------------------------

def _linear_backward(node, dy):
    x, w, *y = node.saved
    need_x, need_w, need_b = node.needs
    dy = _core.relu_backward(dy, y[0]) if y else dy
    dx = _core.linear_bwd_x(dy, w) if need_x else None       # before dw: then a captured step may change w as soon as dw is there
    dw, db = _core.linear_bwd_w(dy, x, need_b, need_w) if need_w or need_b else (None, None)
    return dx, dw, db


def linear(input, weight, bias=None):
    """y = x w' + b.

    Args:
        input: (..., in_features). weight: (out_features, in_features). bias: (out_features) or None.

    Returns: (..., out_features).
    Errors: RuntimeError if the shapes or types do not fit.

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.linear(fastnn.ones(2, 3), fastnn.ones(1, 3), fastnn.tensor([1.]))
        tensor([[4.],
                [4.]])
    """
    _tensors("linear", input=input, weight=weight)
    if bias is not None:
        tensor_only(bias, "linear", "bias")
    if not (weight.dtype.is_floating_point and weight.dim() == 2):
        y = matmul(input, shape.t(weight))
        return y if bias is None else y + bias
    return attach(_core.linear_fwd(input, weight, bias), _linear_backward, (input, weight, bias), (input, weight))


def linear_relu(input, weight, bias):
    """relu(linear(input, weight, bias)), with the same bits, in one pass."""
    if not (getattr(input, "dtype", None) == weight.dtype and weight.dtype.is_floating_point and weight.dim() == 2):
        return linear(input, weight, bias).relu()
    y = _core.linear_fwd(input, weight, bias, 1)
    return attach(y, _linear_backward, (input, weight, bias), (input, weight, y))


# ---- products of matrices and vectors ------------------------------------------------------------------------------------

def _product_backward(node, dc):
    a, b = node.saved
    need_a, need_b = node.needs
    da = reduce_to(_core.gemm(dc, shape.transpose(b, -2, -1)), _sizes(a)) if need_a else None
    db = reduce_to(_core.gemm(shape.transpose(a, -2, -1), dc), _sizes(b)) if need_b else None
    return da, db


def _product(name, a, b, out=None):
    """c = a b for matrices, leading dimensions broadcast; da = dc b', db = a' dc."""
    if out is not None and needs_grad(a, b):
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    if a.dtype == b.dtype in (create.int64, create.int32, create.uint8) and a.shape[-1] == b.shape[-2]:
        return _product_of_integers(a, b, out)
    return attach(_core.gemm(a, b, None, 0, out), _product_backward, (a, b), (a, b))


def _product_of_integers(a, b, out):
    """Exact, wrapping as the type does: all products at once if they are few, else a sum of outer products."""
    if a.numel() * b.shape[-1] <= 1 << 18:
        c = (shape.unsqueeze(a, -1) * shape.unsqueeze(b, -3)).sum(-2).to(a.dtype)
    else:
        c = shape.narrow(a, -1, 0, 1) * shape.narrow(b, -2, 0, 1)
        for k in range(1, a.shape[-1]):
            _core.addcmul(c, shape.narrow(a, -1, k, 1), shape.narrow(b, -2, k, 1), 1, c)
    return c if out is None else _give(c, out)


def matmul(input, other, *, out=None):
    """The matrix product of the last two dimensions; vectors are rows on the left and columns on the right; leading dimensions broadcast.

    Errors: RuntimeError if the inner sizes differ, leading dimensions do not broadcast, a tensor has no dimension, or the types differ.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 2.], [3., 4.]]) @ fastnn.tensor([1., 1.])
        tensor([3., 7.])
    """
    _tensors("matmul", input=input, other=other)
    m, n = input.dim(), other.dim()
    if m == 0 or n == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {m}D and {n}D")
    if m == 1 and n == 1 and input.shape != other.shape:
        raise RuntimeError(f"inconsistent tensor size, expected tensor {list(input.shape)} and src {list(other.shape)} to have the same number of elements")
    if n == 1 and m > 1 and input.shape[-1] != other.shape[0]:
        raise RuntimeError(f"matmul: size mismatch, matrices {_sizes(input)} have {input.shape[-1]} columns, "
                           f"but the vector {_sizes(other)} has {other.shape[0]} elements")
    if m > 2 and n <= 2 and out is None:                 # one tall matrix
        rows = shape.reshape(input, (math.prod(_sizes(input)[:-1]), input.shape[-1]))
        return shape.view(matmul(rows, other), _sizes(input)[:-1] + _sizes(other)[1:])
    y = _product("matmul", shape.unsqueeze(input, 0) if m == 1 else input, shape.unsqueeze(other, 1) if n == 1 else other, out if m > 1 and n > 1 else None)
    if n == 1:
        y = shape.squeeze(y, -1)
    if m == 1:
        y = shape.squeeze(y, -1 if n == 1 else -2)
    return y if out is None or y is out else _give(y, out)


def _give(y, out):
    if out.shape != y.shape:
        raise RuntimeError(f"out: the result has shape {_sizes(y)}, got {_sizes(out)}")
    return out.copy_(y)


def mm(input, mat2, *, out=None):
    """The product of two matrices (M, K) and (K, N).

    Example:
        >>> import fastnn
        >>> fastnn.mm(fastnn.tensor([[1., 2.]]), fastnn.tensor([[3.], [4.]]))
        tensor([[11.]])
    """
    _tensors("mm", input=input, mat2=mat2)
    if input.dim() != 2 or mat2.dim() != 2:
        raise RuntimeError(f"mm: self must be a matrix and mat2 must be a matrix, got shapes {_sizes(input)} and {_sizes(mat2)}")
    return _product("mm", input, mat2, out)


def bmm(input, mat2, *, out=None):
    """The products of two batches of matrices (B, M, K) and (B, K, N).

    Example:
        >>> import fastnn
        >>> fastnn.bmm(fastnn.ones(2, 1, 3), fastnn.ones(2, 3, 4)).shape
        fastnn.Size([2, 1, 4])
    """
    _tensors("bmm", input=input, mat2=mat2)
    if input.dim() != 3 or mat2.dim() != 3:
        raise RuntimeError(f"bmm: batch1 and batch2 must be 3D tensors, got shapes {_sizes(input)} and {_sizes(mat2)}")
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(f"bmm: batch1 (B, M, K)={_sizes(input)} needs a batch2 (B, K, N) with B={input.shape[0]} and K={input.shape[2]}, got {_sizes(mat2)}")
    return _product("bmm", input, mat2, out)


def mv(input, vec):
    """The product of a matrix (M, K) and a vector (K).

    Example:
        >>> import fastnn
        >>> fastnn.mv(fastnn.tensor([[1., 2.], [3., 4.]]), fastnn.tensor([1., 1.]))
        tensor([3., 7.])
    """
    _tensors("mv", input=input, vec=vec)
    if input.dim() != 2 or vec.dim() != 1:
        raise RuntimeError(f"mv: expected a matrix and a vector, got shapes {_sizes(input)} and {_sizes(vec)}")
    return matmul(input, vec)


def dot(input, tensor):
    """The inner product of two vectors.

    Example:
        >>> import fastnn
        >>> fastnn.dot(fastnn.tensor([1., 2.]), fastnn.tensor([3., 4.]))
        tensor(11.)
    """
    _tensors("dot", input=input, tensor=tensor)
    if input.dim() != 1 or tensor.dim() != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.dim()}D and {tensor.dim()}D tensors")
    return matmul(input, tensor)


def outer(input, vec2):
    """The matrix of all products of two vectors' elements.

    Example:
        >>> import fastnn
        >>> fastnn.outer(fastnn.tensor([1., 2.]), fastnn.tensor([3., 4.]))
        tensor([[3., 4.],
                [6., 8.]])
    """
    _tensors("outer", input=input, vec2=vec2)
    if input.dim() != 1 or vec2.dim() != 1:
        raise RuntimeError(f"outer: Expected 1-D arguments, but got {input.dim()}-D and {vec2.dim()}-D")
    return shape.unsqueeze(input, 1) * vec2


def _addmm_backward(node, dy):
    a, b = node.saved
    need_c, need_a, need_b = node.needs
    return (dy.sum(0) if need_c else None, _core.gemm(dy, shape.transpose(b, 0, 1)) if need_a else None,
            _core.gemm(shape.transpose(a, 0, 1), dy) if need_b else None)


def _add_product(name, input, product, m1, m2, beta, alpha):
    """beta input + alpha product(m1, m2), input broadcast."""
    if input.dtype != m2.dtype:
        raise RuntimeError(f"{name}: self and mat2 must have the same dtype, but got {input.dtype} and {m2.dtype}")
    if not input.dtype.is_floating_point:
        beta, alpha = int(beta), int(alpha)
    y = product(m1, m2)
    y = y if alpha == 1 else y * alpha
    input = shape.expand(input, y.shape)
    return y if beta == 0 else y + (input if beta == 1 else input * beta)


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta input + alpha mat1 mat2, input broadcast; with beta 0 input is not read.

    Example:
        >>> import fastnn
        >>> fastnn.addmm(fastnn.tensor([1., 2.]), fastnn.ones(2, 3), fastnn.ones(3, 2))
        tensor([[4., 5.],
                [4., 5.]])
    """
    _tensors("addmm", input=input, mat1=mat1, mat2=mat2)
    row = input.dim() == 1 and mat1.dim() == mat2.dim() == 2 and input.shape[0] == mat2.shape[1]
    if row and beta == alpha == 1 and input.dtype == mat1.dtype == mat2.dtype and mat2.dtype.is_floating_point:
        return attach(_core.gemm(mat1, mat2, input), _addmm_backward, (input, mat1, mat2), (mat1, mat2))
    return _add_product("addmm", input, mm, mat1, mat2, beta, alpha)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta input + alpha batch1 batch2, input broadcast; with beta 0 input is not read.

    Example:
        >>> import fastnn
        >>> fastnn.baddbmm(fastnn.ones(1, 1, 1), fastnn.ones(1, 1, 2), fastnn.ones(1, 2, 1), beta=10)
        tensor([[[12.]]])
    """
    _tensors("baddbmm", input=input, batch1=batch1, batch2=batch2)
    return _add_product("baddbmm", input, bmm, batch1, batch2, beta, alpha)


# ---- einsum --------------------------------------------------------------------------------------------------------------

def _letters(equation, operands):
    """The letters of each operand and of the result, an ellipsis spelled out with letters that the equation does not use."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum(): the equation '{equation}' has {len(terms)} operands, but {len(operands)} were given")
    spare, most = "".join([c for c in string.ascii_letters if c not in equation]), 0
    sizes = {}
    for i, (term, x) in enumerate(zip(terms, operands)):
        if "..." in term:
            n = x.dim() - (len(term) - 3)
            term, most = term.replace("...", spare[:n][::-1] if n > 0 else "", 1), builtins.max(most, n)
        if len(term) != x.dim():
            raise RuntimeError(f"einsum(): the number of subscripts in '{terms[i]}' does not match the number of "
                               f"dimensions of operand {i} of shape {_sizes(x)}")
        terms[i] = term
        own = {}
        for c, n in zip(term, x.shape):
            if c not in string.ascii_letters:
                raise RuntimeError(f"einsum(): invalid subscript given: '{c}', subscripts must be in [a-zA-Z]")
            if own.setdefault(c, n) != n:
                raise RuntimeError(f"einsum(): subscript {c} is repeated for operand {i} but the sizes don't match, {n} != {own[c]}")
            if sizes.setdefault(c, n) != n and 1 not in (n, sizes[c]):
                raise RuntimeError(f"einsum(): subscript {c} has size {n} for operand {i} which does not broadcast with previously seen size {sizes[c]}")
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    dots = spare[:most][::-1]
    if arrow:
        right = right.replace("...", dots, 1)
    else:
        right = dots + "".join(sorted(c for c in sizes if left.count(c) == 1))
    if len(set(right)) != len(right) or set(right) - set(sizes):
        raise RuntimeError(f"einsum(): output subscripts '{right}' must be distinct and appear in the operands")
    return terms, right


def _arrange(x, term):
    """x and its letters, repeated ones made a diagonal."""
    while len(set(term)) < len(term):
        c = next(c for c in term if term.count(c) > 1)
        i, j = [k for k, t in enumerate(term) if t == c][:2]
        x = shape.diagonal(x, 0, i, j)
        term = "".join(t for k, t in enumerate(term) if k not in (i, j)) + c
    return x, term


def _sum_away(x, term, keep):
    """x summed over its letters that are not kept, and what remains of them."""
    for c in [c for c in term if c not in keep]:
        x, term = x.sum(term.index(c)), term.replace(c, "")
    return x, term


def _contract(a, ta, b, tb, keep):
    """The product of two operands, summed over what is not kept: one batched matrix product. Returns it and its letters."""
    a, ta = _sum_away(a, ta, keep | set(tb))
    b, tb = _sum_away(b, tb, keep | set(ta))
    both = [c for c in ta if c in tb]
    batch, summed = [c for c in both if c in keep], [c for c in both if c not in keep]
    rows, columns = [c for c in ta if c not in both], [c for c in tb if c not in both]
    sizes = dict(zip(tb, b.shape))
    for c, n in zip(ta, a.shape):
        sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]

    def fold(x, t, *groups):
        x = shape.permute(x, [t.index(c) for g in groups for c in g])
        x = shape.expand(x, [sizes[c] for g in groups for c in g])
        return shape.reshape(x, [math.prod(sizes[c] for c in g) for g in groups])
    y = bmm(fold(a, ta, batch, rows, summed), fold(b, tb, batch, summed, columns))
    letters = "".join(batch + rows + columns)
    return shape.reshape(y, [sizes[c] for c in letters]), letters


def einsum(equation, *operands):
    """Sums of products by Einstein's notation, ellipsis included: from left to right, each step one batched matrix product.

    Errors: RuntimeError if letters, operands and sizes do not fit together.

    Example:
        >>> import fastnn
        >>> a, b = fastnn.ones(2, 3), fastnn.ones(3, 4)
        >>> fastnn.einsum("ij,jk->ik", a, b).shape
        fastnn.Size([2, 4])
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    for i, x in enumerate(operands):
        tensor_only(x, "einsum", f"operands[{i}]")
    terms, right = _letters(equation, operands)
    parts = [_arrange(x, term) for x, term in zip(operands, terms)]
    x, term = parts[0]
    for i, (b, tb) in enumerate(parts[1:], 2):
        x, term = _contract(x, term, b, tb, set(right).union(*(t for _, t in parts[i:])))
    x, term = _sum_away(x, term, right)
    return shape.permute(x, [term.index(c) for c in right])


METHODS = ("matmul", "mm", "bmm", "mv", "dot", "outer", "addmm", "baddbmm")
FUNCTIONS = METHODS + ("einsum",)
INPLACE = ()
