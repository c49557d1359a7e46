"""Shapes: views, joining and splitting.

A view's gradient is the reverse view of the output's; of a slice, the output's gradient in zeros."""
import builtins

from .. import _core
from .._core import attach


def _dims(args, name):
    """Sizes or dims given as f(2, 3), f((2, 3)) or f([2, 3])."""
    if len(args) == 1 and not isinstance(args[0], int) and hasattr(args[0], "__iter__"):
        args = tuple(args[0])
    for a in args:
        if isinstance(a, bool) or not hasattr(a, "__index__"):
            raise TypeError(f"{name}(): expected ints, got {type(a).__name__}")
    return tuple(int(a) for a in args)


def _wrap(dim, ndim):
    n = ndim or 1
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


def _reshape_backward(node, dy):
    return (reshape(dy, node.meta),)


def view(input, *shape):
    """`input` under another shape, without a copy; one size may be -1.

    Errors: RuntimeError if the sizes do not multiply to `input.numel()`, or if strides would need a copy (then `reshape`).

    Example:
        >>> import fastnn
        >>> fastnn.arange(6).view(2, -1)
        tensor([[0, 1, 2],
                [3, 4, 5]])
    """
    if len(shape) == 1 and isinstance(shape[0], _core.dtype):
        raise NotImplementedError("view(dtype): not supported")
    return attach(_core.view(input, _dims(shape, "view")), _reshape_backward, (input,), meta=tuple(input.shape))


def reshape(input, *shape):
    """As `view`, with a copy where the strides ask for one.

    Example:
        >>> import fastnn
        >>> fastnn.arange(6).reshape(2, -1)
        tensor([[0, 1, 2],
                [3, 4, 5]])
    """
    shape = _dims(shape, "reshape")
    if not _core.can_view(input, shape):
        input = contiguous(input)
    return view(input, shape)


def view_as(input, other):
    """`input.view(other.shape)`."""
    return view(input, other.shape)


def reshape_as(input, other):
    """`input.reshape(other.shape)`."""
    return reshape(input, other.shape)


def flatten(input, start_dim=0, end_dim=-1):
    """Dimensions start_dim to end_dim as one.

    Example:
        >>> import fastnn
        >>> fastnn.zeros(2, 3, 4).flatten(1).shape
        fastnn.Size([2, 12])
    """
    shape = tuple(input.shape)
    first, last = _wrap(start_dim, len(shape)), _wrap(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, (1,))
    n = 1
    for s in shape[first:last + 1]:
        n *= s
    return reshape(input, shape[:first] + (n,) + shape[last + 1:]) if first != last else input


def ravel(input):
    """All elements in one dimension."""
    return reshape(input, (-1,)) if input.numel() else reshape(input, (0,))


def unflatten(input, dim, sizes):
    """The reverse of flatten: dimension dim as several.

    Example:
        >>> import fastnn
        >>> fastnn.zeros(2, 12).unflatten(1, (3, 4)).shape
        fastnn.Size([2, 3, 4])
    """
    shape = tuple(input.shape)
    d, sizes = _wrap(dim, len(shape)), tuple(sizes)
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = 1
    for s in sizes:
        known *= s if s != -1 else 1
    if (-1 not in sizes and known != shape[d]) or (-1 in sizes and (known == 0 or shape[d] % known)):
        raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({shape[d]}) in the input tensor")
    sizes = tuple(shape[d] // known if s == -1 else s for s in sizes)
    return view(input, shape[:d] + sizes + shape[d + 1:])


def squeeze(input, dim=None):
    """`input` without its dimensions of size 1, or without those of `dim` (an int or a tuple) that have size 1.

    Example:
        >>> import fastnn
        >>> fastnn.zeros(1, 2, 1).squeeze().shape, fastnn.zeros(1, 2, 1).squeeze(0).shape
        (fastnn.Size([2]), fastnn.Size([2, 1]))
    """
    dims = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    return attach(_core.squeeze(input, dims), _reshape_backward, (input,), meta=tuple(input.shape))


def unsqueeze(input, dim):
    """`input` with a new dimension of size 1 at `dim`."""
    return attach(_core.unsqueeze(input, dim), _reshape_backward, (input,), meta=tuple(input.shape))


def _permute_backward(node, dy):
    return (_core.permute(dy, node.meta),)


def permute(input, *dims):
    """Dimensions in another order: y's dimension i is x's dims[i].

    Example:
        >>> import fastnn
        >>> fastnn.zeros(2, 3, 4).permute(2, 0, 1).shape
        fastnn.Size([4, 2, 3])
    """
    dims = _dims(dims, "permute")
    y = _core.permute(input, dims)
    back = [0] * len(dims)
    for i, d in enumerate(dims):
        back[d] = i
    return attach(y, _permute_backward, (input,), meta=tuple(back))


def transpose(input, dim0, dim1):
    """Two dimensions swapped."""
    dims = list(range(input.dim()))
    a, b = _wrap(dim0, len(dims)), _wrap(dim1, len(dims))
    if dims:
        dims[a], dims[b] = b, a
    return permute(input, dims)


swapaxes = transpose


def t(input):
    """The transpose of a matrix; vectors and scalars as they are."""
    if input.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.dim()}D")
    return transpose(input, 0, 1) if input.dim() == 2 else input


def movedim(input, source, destination):
    """Dimensions `source` moved to places `destination`, the others in order."""
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    n = input.dim()
    if len(source) != len(destination):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number of dims as "
                           f"destination ({list(destination)} dims)")
    source, destination = [_wrap(s, n) for s in source], [_wrap(d, n) for d in destination]
    if len(set(source)) != len(source) or len(set(destination)) != len(destination):
        raise RuntimeError(f"movedim: repeated dim in source {source} or destination {destination}")
    rest = iter([d for d in range(n) if d not in source])
    return permute(input, [source[destination.index(i)] if i in destination else next(rest) for i in range(n)])


moveaxis = movedim


def _expand_backward(node, dy):
    from .promote import reduce_to
    return (reduce_to(dy, node.meta),)


def expand(input, *sizes):
    """Dimensions of size 1 repeated without a copy, new ones in front; -1 keeps a size.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1], [2]]).expand(2, 3)
        tensor([[1, 1, 1],
                [2, 2, 2]])
    """
    return attach(_core.expand(input, _dims(sizes, "expand")), _expand_backward, (input,), meta=tuple(input.shape))


def expand_as(input, other):
    """`input.expand(other.shape)`."""
    return expand(input, other.shape)


def broadcast_to(input, size):
    """`input.expand(size)`."""
    return expand(input, size)


def repeat(input, *repeats):
    """Copies of `input` laid side by side, repeats[d] times along dimension d.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1, 2]).repeat(2, 2)
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]])
    """
    repeats = _dims(repeats, "repeat")
    if len(repeats) < input.dim():
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(r < 0 for r in repeats):
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeat{repeats}")
    shape = (1,) * (len(repeats) - input.dim()) + tuple(input.shape)
    pairs = [d for r, s in zip(repeats, shape) for d in (1, s)]
    wide = [d for r, s in zip(repeats, shape) for d in (r, s)]
    if len(pairs) <= 8:
        return reshape(contiguous(expand(view(contiguous(input), pairs), wide)), [r * s for r, s in zip(repeats, shape)])
    y = reshape(input, shape)
    for d, r in enumerate(repeats):
        if r != 1:
            y = cat([y] * r, d) if r else narrow(y, d, 0, 0)
    return y


def tile(input, *dims):
    """`input.repeat(dims)`, with ones put in front of `dims` where there are too few."""
    dims = _dims(dims, "tile")
    return repeat(input, (1,) * (input.dim() - len(dims)) + dims)


def _sliced(input, place):
    """place(input), a view; its gradient lies as the input does."""
    last = input.dim() == 4 and input.shape[1] > 1 and _core.is_nhwc(input)
    return attach(place(input), _slice_backward, (input,), meta=(tuple(input.shape), input.dtype, last, place))


def _slice_backward(node, dy):
    shape, dtype, last, place = node.meta
    dx = _core.full(shape, 0, dtype, last)
    _core.copy_into(place(dx), dy)
    return (dx,)


def select(input, dim, index):
    """`input[..., index, ...]`: a view without dimension dim."""
    return _sliced(input, lambda x: _core.select(x, dim, index))


def slice_dim(input, dim, start, stop, step=1):
    """`input[..., start:stop:step, ...]` with Python's clipping; step must be positive."""
    n = input.shape[dim]
    if step <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, _ = builtins.slice(start, stop, step).indices(n)
    return _sliced(input, lambda x: _core.slice_dim(x, dim, start, stop, step))


def narrow(input, dim, start, length):
    """`length` elements of dimension dim from `start`."""
    d = _wrap(dim, input.dim())
    n = input.shape[d]
    start = int(start)
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start = start + n if start < 0 else start
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_dim(input, d, start, start + length)


def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of dimensions dim1 and dim2, as the last dimension of a view."""
    a, b = _wrap(dim1, input.dim()), _wrap(dim2, input.dim())
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")

    def place(x):
        shape, stride = list(x.shape), list(x.stride())
        n = max(0, min(shape[a], shape[b] - offset) if offset >= 0 else min(shape[a] + offset, shape[b]))
        start = x.storage_offset() + (offset * stride[b] if offset >= 0 else -offset * stride[a]) * (n > 0)
        keep = [d for d in range(len(shape)) if d not in (a, b)]
        return _core.as_strided(x, [shape[d] for d in keep] + [n], [stride[d] for d in keep] + [stride[a] + stride[b]], start)
    return _sliced(input, place)


def _contiguous_backward(node, dy):
    return (dy,)


def contiguous(input):
    """`input` itself if its elements lie row-major without gaps, else a copy."""
    y = _core.contiguous(input)
    return input if y is input else attach(y, _contiguous_backward, (input,))


def clone(input, *, memory_format=None):
    """A copy with the same values, through which gradients flow."""
    return attach(_core.clone(input), _contiguous_backward, (input,))


def _cat_backward(node, dy):
    dim, sizes = node.meta
    grads, start = [], 0
    for n, need in zip(sizes, node.needs):
        grads.append(_core.slice_dim(dy, dim, start, start + n, 1) if need and n is not None else None)
        start += n or 0
    return tuple(grads)


def cat(tensors, dim=0):
    """Tensors joined along an existing dimension; all other sizes must agree. Empty 1-D tensors are passed over, as in PyTorch; of
    images that all lie channels-last the result does too.

    Example:
        >>> import fastnn
        >>> fastnn.cat([fastnn.zeros(1, 2), fastnn.ones(1, 2)])
        tensor([[0., 0.],
                [1., 1.]])
    """
    from .promote import result_type
    if isinstance(tensors, _core.TensorBase):
        raise TypeError(f"cat(): argument 'tensors' must be tuple of Tensors, not Tensor of shape {tuple(tensors.shape)}")
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if not isinstance(x, _core.TensorBase):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
        if x.dim() == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = dtype if x.dtype == dtype else result_type(_core.full((1,), 0, dtype), _core.full((1,), 0, x.dtype))
    shapes = [tuple(x.shape) for x in tensors]
    given = [(x, shape) for x, shape in zip(tensors, shapes) if shape != (0,)]
    if not given:
        return _core.full((0,), 0, dtype)
    first = given[0][1]
    d = _wrap(dim, len(first))
    before, behind = first[:d], first[d + 1:]
    for i, (x, shape) in enumerate(given):
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        if shape[:d] != before or shape[d + 1:] != behind:
            raise RuntimeError(f"Sizes of tensors must match except in dimension {d}. Got {shape} for tensor number {i} and {first} for the first.")
    sizes = [shape[d] if shape != (0,) else None for shape in shapes]
    last = len(first) == 4 and builtins.all(shape[1] > 1 and _core.is_nhwc(x) for x, shape in given)
    y = _core.full((*before, builtins.sum(n or 0 for n in sizes), *behind), None, dtype, last)
    start = 0
    for x, shape in given:
        _core.copy_into(_core.slice_dim(y, d, start, start + shape[d], 1), x)
        start += shape[d]
    return attach(y, _cat_backward, tuple(tensors), meta=(d, sizes))


concat = concatenate = cat


def stack(tensors, dim=0):
    """Tensors of one shape joined along a new dimension.

    Example:
        >>> import fastnn
        >>> fastnn.stack([fastnn.tensor([1, 2]), fastnn.tensor([3, 4])])
        tensor([[1, 2],
                [3, 4]])
    """
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    for x in tensors:
        if x.shape != tensors[0].shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at entry 0 and {list(x.shape)} later")
    d = _wrap(dim, tensors[0].dim() + 1)
    return cat([unsqueeze(x, d) for x in tensors], d)


def vstack(tensors):
    """Rows under each other."""
    return cat([view(x, (1, -1)) if x.dim() < 2 else x for x in tensors], 0)


def hstack(tensors):
    """Columns beside each other; vectors end to end."""
    tensors = [view(x, (1,)) if x.dim() == 0 else x for x in tensors]
    return cat(tensors, 0 if tensors[0].dim() == 1 else 1)


def split(tensor, split_size_or_sections, dim=0):
    """Views of `split_size` elements each along dim (the last may be smaller), or of the sizes listed.

    Example:
        >>> import fastnn
        >>> fastnn.arange(5).split(2)
        (tensor([0, 1]), tensor([2, 3]), tensor([4]))
        >>> fastnn.arange(5).split([1, 4])
        (tensor([0]), tensor([1, 2, 3, 4]))
    """
    if tensor.dim() == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = _wrap(dim, tensor.dim())
    n = tensor.shape[d]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size} for dimension {d} of size {n}")
        sizes = [builtins.min(size, n - k) for k in range(0, n, size or 1)] or [0]
    else:
        sizes = list(split_size_or_sections)
        total = 0
        for s in sizes:
            total += s
        if total != n or any(s < 0 for s in sizes):
            raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), but got "
                               f"split_sizes={sizes}")
    parts, start = [], 0
    for s in sizes:
        parts.append(slice_dim(tensor, d, start, start + s))
        start += s
    return tuple(parts)


def chunk(input, chunks, dim=0):
    """At most `chunks` views of equal size along dim, the last possibly smaller."""
    if input.dim() == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[_wrap(dim, input.dim())]
    return split(input, builtins.max(-(-n // chunks), 1) if n else 0, dim) if n else (input,) * chunks


def unbind(input, dim=0):
    """All slices along dim, without it.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1, 2], [3, 4]]).unbind()
        (tensor([1, 2]), tensor([3, 4]))
    """
    if input.dim() == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return tuple(select(input, dim, i) for i in range(input.shape[_wrap(dim, input.dim())]))


def broadcast_tensors(*tensors):
    """Views of all tensors at their common shape."""
    shape = broadcast_shapes(*[x.shape for x in tensors])
    return tuple(expand(x, shape) for x in tensors)


def broadcast_shapes(*shapes):
    """The shape that `shapes` broadcast to.

    Example:
        >>> import fastnn
        >>> fastnn.broadcast_shapes((2, 1), (3,))
        fastnn.Size([2, 3])
    """
    n = builtins.max((len(s) for s in shapes), default=0)
    out = [1] * n
    for s in shapes:
        for i, k in enumerate(reversed(tuple(s))):
            if k != 1:
                if out[n - 1 - i] not in (1, k):
                    raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape: " + ", ".join(str(tuple(s)) for s in shapes))
                out[n - 1 - i] = k
    return _core.Size(out)


METHODS = ("view", "reshape", "view_as", "reshape_as", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "t",
           "movedim", "moveaxis", "expand", "expand_as", "broadcast_to", "repeat", "tile", "select", "narrow", "diagonal", "contiguous", "clone", "split",
           "chunk", "unbind")
FUNCTIONS = tuple(n for n in METHODS if n not in ("view", "view_as", "reshape_as", "expand", "expand_as", "repeat", "contiguous")) + (
    "cat", "concat", "concatenate", "stack", "vstack", "hstack", "broadcast_tensors", "broadcast_shapes")
INPLACE = ()
