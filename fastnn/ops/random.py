"""Random tensors, and dropout.

Bits are Philox4x32-10 of (seed, counter, element): each call takes one count of its generator, and what an element gets
depends neither on the number of threads nor on the instruction set.

For nn.functional:  dropout(input, p=0.5, train=True, *, run=1, generator=None, out=None)
run > 1 draws once for that many neighbouring elements, counted row-major; out=input works in place where no gradient
is needed.
feature_dropout(input, p=0.5, train=True) drops whole channels, input[n, c, ...]."""
import numpy as np

from .. import _core
from .._core import attach, default_generator, needs_grad
from .create import _finish, _kind, float32, int64, uint8
from .shape import _dims


def manual_seed(seed):
    """Start the default generator anew from `seed`, an int of up to 64 bits. Returns the generator.

    Example:
        >>> import fastnn
        >>> a = fastnn.manual_seed(0), fastnn.rand(3)
        >>> b = fastnn.manual_seed(0), fastnn.rand(3)
        >>> bool((a[1] == b[1]).all())
        True
    """
    seed = int(seed)
    if not -2**63 <= seed < 2**64:
        raise RuntimeError(f"Overflow when unpacking long: seed {seed} does not fit into 64 bits")
    return default_generator.manual_seed(seed)


def seed():
    """Start the default generator anew from a seed of the system's; returns it."""
    return default_generator.seed()


def initial_seed():
    """The seed the default generator started from."""
    return default_generator.initial_seed()


def _fresh(size, name, dtype):
    return _core.full(_dims(size, name), None, dtype)


def rand(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Numbers evenly from [0, 1), of shape `size`.

    Example:
        >>> import fastnn
        >>> x = fastnn.rand(100, 2)
        >>> bool((x >= 0).all()), bool((x < 1).all())
        (True, True)
    """
    return _finish(_core.uniform_into(_fresh(size, "rand", _kind(dtype)), 0, 1, generator), requires_grad, device)


def randn(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal numbers with mean 0 and deviation 1, of shape `size` (Box and Muller's method).

    Example:
        >>> import fastnn
        >>> fastnn.randn(2, 3).shape
        fastnn.Size([2, 3])
    """
    return _finish(_core.normal_into(_fresh(size, "randn", _kind(dtype)), 0, 1, generator), requires_grad, device)


def randint(*args, low=None, high=None, size=None, generator=None, dtype=None, device=None, requires_grad=False):
    """randint(high, size) or randint(low, high, size): integers evenly from [low, high), low 0 if it is not given.

    Example:
        >>> import fastnn
        >>> x = fastnn.randint(3, 7, (50,))
        >>> x.dtype, int(x.min()) >= 3, int(x.max()) <= 6
        (fastnn.int64, True, True)
    """
    given, args = list(args), None
    if size is None:
        if not given:
            raise TypeError("randint(): expected randint(high, size) or randint(low, high, size)")
        size = given.pop()
    if high is None:
        if not given:
            raise TypeError("randint(): missing argument 'high'")
        high = given.pop()
    if low is None:
        low = given.pop() if given else 0
    if given:
        raise TypeError("randint(): too many arguments; expected randint(high, size) or randint(low, high, size)")
    low, high = (x.item() if isinstance(x, _core.TensorBase) else x for x in (low, high))
    if not all(isinstance(x, (int, np.integer)) for x in (low, high)):
        raise TypeError(f"randint(): low and high must be int, got {type(low).__name__} and {type(high).__name__}")
    if not all(-1 << 63 <= x < 1 << 63 for x in (low, high)):
        raise ValueError(f"randint(): low={low} and high={high} must fit into int64")
    kind = _kind(dtype, int64)
    t = _fresh((size,), "randint", uint8 if kind.name == "bool" else kind)
    _core.randint_into(t, int(low), int(high), generator)
    return _finish(_core.cast(t, kind) if kind.name == "bool" else t, requires_grad, device)


def randperm(n, *, generator=None, dtype=None, device=None, requires_grad=False):
    """0 .. n-1 in random order.

    Example:
        >>> import fastnn
        >>> sorted(fastnn.randperm(4).tolist())
        [0, 1, 2, 3]
    """
    if n < 0:
        raise RuntimeError(f"randperm: n must be non-negative, got {n}")
    return _finish(_core.randperm_into(_fresh((n,), "randperm", _kind(dtype, int64)), generator), requires_grad, device)


def rand_like(input, *, dtype=None, device=None, requires_grad=False, memory_format=None, generator=None):
    """`rand` with the shape and type of `input`.

    Example:
        >>> import fastnn
        >>> fastnn.rand_like(fastnn.zeros(2, 3)).shape
        fastnn.Size([2, 3])
    """
    return rand(tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad,
                generator=generator)


def randn_like(input, *, dtype=None, device=None, requires_grad=False, memory_format=None, generator=None):
    """`randn` with the shape and type of `input`.

    Example:
        >>> import fastnn
        >>> fastnn.randn_like(fastnn.zeros(2, 3)).shape
        fastnn.Size([2, 3])
    """
    return randn(tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad,
                 generator=generator)


def randint_like(input, *args, low=None, high=None, dtype=None, device=None, requires_grad=False, memory_format=None,
                 generator=None):
    """`randint` with the shape and type of `input`: randint_like(x, high) or randint_like(x, low, high)."""
    return randint(*args, low=low, high=high, size=tuple(input.shape), dtype=dtype or input.dtype, device=device,
                   requires_grad=requires_grad, generator=generator)


def normal(mean=0.0, std=1.0, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal numbers: normal(mean, std, size) with two numbers, or one for each element of the tensors mean and std,
    broadcast.

    Errors: RuntimeError for a negative deviation; TypeError for two numbers without size.

    Example:
        >>> import fastnn
        >>> fastnn.normal(fastnn.tensor([0., 100.]), fastnn.tensor([1., 1.])).round().shape
        fastnn.Size([2])
    """
    tensors = [t for t in (mean, std) if isinstance(t, _core.TensorBase)]
    if not tensors:
        if size is None:
            raise TypeError("normal(): mean and std are numbers, so size is needed")
        t = _fresh((size,), "normal", _kind(dtype))
        return _finish(_core.normal_into(t, mean, std, generator), requires_grad, device)
    if size is not None:
        raise TypeError("normal(): size is for numbers; here the tensors give the shape")
    mean, std = (t.detach() if isinstance(t, _core.TensorBase) else t for t in (mean, std))
    if isinstance(std, _core.TensorBase):
        if not _core.is_recording() and bool((std < 0).any()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
    elif std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    shape = (mean + std).shape
    kind = tensors[0].dtype if tensors[0].dtype.is_floating_point else float32
    return _finish(randn(tuple(shape), dtype=kind, generator=generator) * std + mean, requires_grad, device)


def bernoulli(input, p=None, *, generator=None):
    """1 with the probability that each element of `input` gives, or p everywhere, else 0; of input's shape and type.
    Its gradient is zero.

    Errors: RuntimeError for a probability outside [0, 1].

    Example:
        >>> import fastnn
        >>> fastnn.bernoulli(fastnn.tensor([0., 1.]))
        tensor([0., 1.])
    """
    y = _core.full(tuple(input.shape), None, input.dtype)
    _core.bernoulli_into(y, _probabilities(input if p is None else p), generator)
    return attach(y, _zero_backward, (input,))


def _probabilities(p):
    if not isinstance(p, _core.TensorBase):
        return p
    if not p.dtype.is_floating_point:
        raise RuntimeError(f"bernoulli: probabilities must be of floating point, got {p.dtype}")
    p = p.detach()
    if not _core.is_recording() and p.numel() and not bool(((p >= 0) & (p <= 1)).all()):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return p


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Draw indices with probabilities in proportion to the rows of `input`, (C) or (N, C): int64 of shape (num_samples) or
    (N, num_samples). Without replacement, the first ones of a race in which index c finishes at an exponential time of rate
    input[c].

    Errors: RuntimeError for negative or infinite weights, a row without weight, more samples than indices without
    replacement.

    Example:
        >>> import fastnn
        >>> fastnn.multinomial(fastnn.tensor([0., 1., 0.]), 3, replacement=True)
        tensor([1, 1, 1])
    """
    w = input.detach()
    if not w.dtype.is_floating_point or w.dim() not in (1, 2):
        raise RuntimeError(f"multinomial expects 1 or 2 dimensions of floating point, got {tuple(w.shape)} of {w.dtype}")
    if num_samples < 1 or (not replacement and num_samples > w.shape[-1]):
        raise RuntimeError(f"multinomial: cannot sample n_sample={num_samples} of {w.shape[-1]} indices "
                           f"{'with' if replacement else 'without'} replacement")
    if not _core.is_recording() and not bool(((w >= 0) & (w < float("inf"))).all() & (w.sum(-1) > 0).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0, or a row has zero sum")
    if replacement:
        ladder = w.cumsum(-1)
        u = rand(*w.shape[:-1], num_samples, dtype=w.dtype, generator=generator) * ladder[..., -1:]
        last = (w > 0).long().cumsum(-1).argmax(-1, keepdim=True)
        return (ladder.unsqueeze(-2) <= u.unsqueeze(-1)).long().sum(-1).minimum(last)
    time = -(1 - rand(tuple(w.shape), dtype=w.dtype, generator=generator)).log()
    return (w / time.clamp(min=1e-30)).topk(num_samples, -1)[1]


# ---- in place --------------------------------------------------------------------------------------------------------

def _zero_backward(node, dy):
    return (_core.full(tuple(dy.shape), 0, dy.dtype),)


def _overwrite(input, draw):
    """input takes a draw; where it has a history, that ends here with a zero gradient."""
    if not needs_grad(input):
        return draw(input)
    _core.check_inplace(input)
    y = draw(_core.full(tuple(input.shape), None, input.dtype))
    return _core.rebase(input, attach(y, _zero_backward, (input,)))


def uniform_(input, low=0.0, high=1.0, *, generator=None, **named):
    """Fill with numbers evenly from [low, high); PyTorch's keywords `from` and `to` are low and high."""
    low, high = named.pop("from", low), named.pop("to", high)
    if named:
        raise TypeError(f"uniform_() got an unexpected keyword argument '{next(iter(named))}'")
    return _overwrite(input, lambda y: _core.uniform_into(y, low, high, generator))


def normal_(input, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal numbers."""
    return _overwrite(input, lambda y: _core.normal_into(y, mean, std, generator))


def bernoulli_(input, p=0.5, *, generator=None):
    """Fill with 1 with probability p, a number or a tensor that broadcasts to input, else 0."""
    p = _probabilities(p)
    if isinstance(p, _core.TensorBase):
        kind = p.dtype
        spread = _core.expand(p, tuple(input.shape))
        drawn = _core.bernoulli_into(_core.full(tuple(input.shape), None, kind), spread, generator)
        return _overwrite(input, lambda y: y.copy_(drawn))
    return _overwrite(input, lambda y: _core.bernoulli_into(y, p, generator))


_WHOLE = {"float32": 2**24 + 1, "float64": 2**53 + 1, "int64": 2**63 - 1, "int32": 2**31 - 1, "uint8": 2**8, "bool": 2}


def random_(input, *args, generator=None, **named):
    """Fill with integers: random_(from, to), random_(to) from 0, random_() from 0 to the last that the type holds exactly."""
    args = [named.pop(k) for k in ("from", "to") if k in named] if named else list(args)
    if named or len(args) > 2:
        raise TypeError("random_(): expected random_(), random_(to) or random_(from, to)")
    low, high = (0, _WHOLE[input.dtype.name]) if not args else (0, args[0]) if len(args) == 1 else args
    if input.dtype.name == "bool":
        drawn = randint(low, high, tuple(input.shape), dtype=input.dtype, generator=generator)
        return _overwrite(input, lambda y: y.copy_(drawn))
    return _overwrite(input, lambda y: _core.randint_into(y, low, high, generator))


# ---- dropout ---------------------------------------------------------------------------------------------------------

def _dropout_backward(node, dy):
    (mask,), (p, run) = node.saved, node.meta
    return (_core.dropout_backward(dy, mask, p, run),)


def dropout(input, p=0.5, train=True, *, run=1, generator=None, out=None):
    """y = x m / (1 - p), m 1 with probability 1 - p, else 0;  dx = dy m / (1 - p). Without train, or if p is 0, x itself.

    Args:
        input: Tensor of any shape.
        p: probability of a zero, in [0, 1].
        run: one draw for so many neighbouring elements, counted row-major.

    Errors: ValueError for p outside [0, 1]. Source: Srivastava et al., Dropout, 2014.

    Example:
        >>> import fastnn
        >>> set(fastnn.dropout(fastnn.ones(100), 0.5).tolist())
        {0.0, 2.0}
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0 or input.numel() == 0:
        return input
    y, mask = _core.dropout(input, p, run, generator)
    if out is not None:
        _core.copy_into(out, y)
        return out
    return attach(y, _dropout_backward, (input,), saved=(mask,), meta=(p, run))


def feature_dropout(input, p=0.5, train=True):
    """Dropout of whole channels: one draw for input[n, c, ...].

    Errors: as `dropout`; RuntimeError for fewer than 2 dimensions."""
    if input.dim() < 2:
        raise RuntimeError(f"Feature dropout requires at least 2 dimensions in the input: one of shape {tuple(input.shape)} has no channels")
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0 or input.numel() == 0:
        return input
    run = input.numel() // (input.shape[0] * input.shape[1])
    if input.is_contiguous() and not (input.dim() == 4 and _core.is_nhwc(input)):
        return dropout(input, p, train, run=run)
    shape = tuple(input.shape[:2]) + (1,) * (input.dim() - 2)
    factor = _core.bernoulli_into(_core.full(shape, None, input.dtype), 1 - p)
    return input * (factor * (1 / (1 - p)) if p < 1 else factor)


FUNCTIONS = ("manual_seed", "seed", "initial_seed", "rand", "randn", "randint", "randperm", "rand_like", "randn_like",
             "randint_like", "normal", "bernoulli", "multinomial", "dropout", "feature_dropout")
METHODS = ("uniform_", "normal_", "bernoulli_", "random_", "bernoulli", "multinomial")
INPLACE = ("dropout",)
