"""Matrix products and the dense layer's function, with their gradients."""
import builtins

from .. import _core
from .._core import attach, needs_grad
from . import shape
from .promote import reduce_to


def _linear_backward(node, dy):
    x, w = node.saved
    need_x, need_w, need_b = node.needs
    dw, db = _core.linear_bwd_w(dy, x, need_b, need_w) if need_w or need_b else (None, None)
    return _core.linear_bwd_x(dy, w) if need_x else None, dw, db


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
    for name, t in (("input", input), ("weight", weight)):
        if not isinstance(t, _core.TensorBase):
            raise TypeError(f"linear(): argument '{name}' must be Tensor, not {type(t).__name__}")
    return attach(_core.linear_fwd(input, weight, bias), _linear_backward, (input, weight, bias), (input, weight))


def _product_backward(node, dc):
    a, b = node.saved
    need_a, need_b = node.needs
    da = reduce_to(_core.gemm(dc, shape.transpose(b, -2, -1)), tuple(a.shape)) if need_a else None
    db = reduce_to(_core.gemm(shape.transpose(a, -2, -1), dc), tuple(b.shape)) if need_b else None
    return da, db


def _product(a, b, out=None):
    """c = a b for matrices, leading dimensions broadcast; da = dc b', db = a' dc."""
    if out is not None and needs_grad(a, b):
        raise RuntimeError("matmul(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    return attach(_core.gemm(a, b, None, 0, out), _product_backward, (a, b), (a, b))


def matmul(input, other, *, out=None):
    """The matrix product of the last two dimensions; vectors are rows on the left and columns on the right; leading dimensions broadcast.

    Errors: RuntimeError if the inner sizes differ or a tensor has no dimension.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 2.], [3., 4.]]) @ fastnn.tensor([1., 1.])
        tensor([3., 7.])
    """
    for name, t in (("input", input), ("other", other)):
        if not isinstance(t, _core.TensorBase):
            raise TypeError(f"matmul(): argument '{name}' must be Tensor, not {type(t).__name__}")
    m, n = input.dim(), other.dim()
    if m == 0 or n == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {m}D and {n}D")
    if m == 1 and n == 1 and input.shape != other.shape:
        raise RuntimeError(f"inconsistent tensor size, expected tensor {list(input.shape)} and src {list(other.shape)} to have the same number of elements")
    if m >= 2 and n >= 2:
        if n == 2 and m > 2 and out is None:
            flat = _product(shape.reshape(input, (-1, input.shape[-1])) if input.numel() else shape.reshape(input, (_rows(input), input.shape[-1])), other)
            return shape.view(flat, tuple(input.shape[:-1]) + (other.shape[1],))
        return _product(input, other, out)
    y = _product(shape.unsqueeze(input, 0) if m == 1 else input, shape.unsqueeze(other, 1) if n == 1 else other)
    if n == 1:
        y = shape.squeeze(y, -1)
    if m == 1:
        y = shape.squeeze(y, -1 if n == 1 else -2)
    return y if out is None else out.copy_(y)


def _rows(x):
    n = 1
    for s in x.shape[:-1]:
        n *= s
    return n


def mm(input, mat2, *, out=None):
    """The product of two matrices (M, K) and (K, N)."""
    if input.dim() != 2 or mat2.dim() != 2:
        raise RuntimeError(f"mm: expected two matrices, got shapes {tuple(input.shape)} and {tuple(mat2.shape)}: self must be a matrix")
    return _product(input, mat2, out)


def bmm(input, mat2, *, out=None):
    """The products of two batches of matrices (B, M, K) and (B, K, N)."""
    if input.dim() != 3 or mat2.dim() != 3:
        raise RuntimeError(f"batch1 and batch2 must be 3D tensors, got shapes {tuple(input.shape)} and {tuple(mat2.shape)}")
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: expected the same number of matrices, got shapes {tuple(input.shape)} and {tuple(mat2.shape)}")
    return _product(input, mat2, out)


def mv(input, vec):
    """The product of a matrix (M, K) and a vector (K)."""
    if input.dim() != 2 or vec.dim() != 1:
        raise RuntimeError(f"mv: expected a matrix and a vector, got shapes {tuple(input.shape)} and {tuple(vec.shape)}: vector + matrix @ vector expected")
    return matmul(input, vec)


def dot(input, tensor):
    """The inner product of two vectors."""
    if input.dim() != 1 or tensor.dim() != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.dim()}D and {tensor.dim()}D tensors")
    return matmul(input, tensor)


def outer(input, vec2):
    """The matrix of all products of two vectors' elements."""
    if input.dim() != 1 or vec2.dim() != 1:
        raise RuntimeError(f"outer: Expected 1-D arguments, but got {input.dim()}-D and {vec2.dim()}-D")
    return shape.unsqueeze(input, 1) * vec2


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta input + alpha mat1 mat2, input broadcast."""
    y = mm(mat1, mat2)
    y = y if alpha == 1 else y * alpha
    return y if beta == 0 else y + (input if beta == 1 else input * beta)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta input + alpha batch1 batch2, input broadcast."""
    y = bmm(batch1, batch2)
    y = y if alpha == 1 else y * alpha
    return y if beta == 0 else y + (input if beta == 1 else input * beta)


def _letters(equation, operands):
    """The letters of each operand and of the result."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation:
        raise NotImplementedError("einsum: '...' is not supported")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum(): the equation '{equation}' has {len(terms)} operands, but {len(operands)} were given")
    sizes = {}
    for term, x in zip(terms, operands):
        if len(term) != x.dim():
            raise RuntimeError(f"einsum(): the number of subscripts in '{term}' does not match the number of dimensions of an operand of shape {tuple(x.shape)}")
        for letter, n in zip(term, x.shape):
            if not letter.isalpha():
                raise RuntimeError(f"einsum(): invalid subscript given: '{letter}'")
            if sizes.setdefault(letter, n) != n and 1 not in (n, sizes[letter]):
                raise RuntimeError(f"einsum(): operands do not broadcast: '{letter}' is {sizes[letter]} and {n}")
            sizes[letter] = builtins.max(sizes[letter], n)
    if not arrow:
        right = "".join(sorted(c for c in sizes if left.count(c) == 1))
    if len(set(right)) != len(right) or set(right) - set(sizes):
        raise RuntimeError(f"einsum(): output subscripts '{right}' must be distinct and appear in the operands")
    return terms, right


def _arrange(x, term, order):
    """x with its dimensions in the order of letters, size 1 where it has none; repeated letters become a diagonal."""
    while len(set(term)) < len(term):
        c = next(c for c in term if term.count(c) > 1)
        i, j = [k for k, t in enumerate(term) if t == c][:2]
        x = shape.diagonal(x, 0, i, j)
        term = "".join(t for k, t in enumerate(term) if k not in (i, j)) + c
    x = shape.permute(x, [term.index(c) for c in order if c in term])
    for k, c in enumerate(order):
        if c not in term:
            x = shape.unsqueeze(x, k)
    return x


def _contract(a, ta, b, tb, keep):
    """The product of two operands, summed over what is not kept: one batched matrix product. Returns it and its letters."""
    both = [c for c in ta if c in tb]
    batch = [c for c in both if c in keep]
    summed = [c for c in both if c not in keep]
    rows, columns = [c for c in ta if c not in both], [c for c in tb if c not in both]
    for t, only in ((ta, rows), (tb, columns)):
        for c in [c for c in only if c not in keep]:
            only.remove(c)
            if t is ta:
                a, ta = a.sum(ta.index(c)), ta.replace(c, "")
            else:
                b, tb = b.sum(tb.index(c)), tb.replace(c, "")
    sizes = dict(zip(tb, b.shape))
    for c, n in zip(ta, a.shape):
        sizes[c] = builtins.max(n, sizes.get(c, 1))

    def fold(x, t, *groups):
        x = shape.permute(x, [t.index(c) for g in groups for c in g])
        x = shape.expand(x, [sizes[c] for g in groups for c in g])
        flat = []
        for g in groups:
            n = 1
            for c in g:
                n *= sizes[c]
            flat.append(n)
        return shape.reshape(x, flat)
    y = bmm(fold(a, ta, batch, rows, summed), fold(b, tb, batch, summed, columns))
    letters = "".join(batch + rows + columns)
    return shape.reshape(y, [sizes[c] for c in letters]), letters


def einsum(equation, *operands):
    """Sums of products by Einstein's notation, from left to right by matrix products.

    Example:
        >>> import fastnn
        >>> a, b = fastnn.ones(2, 3), fastnn.ones(3, 4)
        >>> fastnn.einsum("ij,jk->ik", a, b).shape
        fastnn.Size([2, 4])
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    terms, right = _letters(equation, operands)
    parts = []
    for x, term in zip(operands, terms):
        letters = "".join(dict.fromkeys(term))
        parts.append((_arrange(x, term, letters), letters))
    x, term = parts[0]
    for i, (b, tb) in enumerate(parts[1:], 1):
        later = set(right).union(*(t for _, t in parts[i + 1:]))
        x, term = _contract(x, term, b, tb, later)
    for c in [c for c in term if c not in right]:
        x, term = x.sum(term.index(c)), term.replace(c, "")
    return shape.permute(x, [term.index(c) for c in right])


METHODS = ("matmul", "mm", "bmm", "mv", "dot", "outer", "addmm", "baddbmm")
FUNCTIONS = METHODS + ("einsum",)
INPLACE = ()
