"""The one comparer: check_op runs an operation in every way that must not matter and holds it against its meaning."""
import contextlib

import numpy as np

import fastnn
from fastnn import _core

REALS, INTS = ("float32", "float64"), ("int64", "int32", "uint8")
NUMS, ALL = REALS + INTS, REALS + INTS + ("bool",)
LAYOUTS = ("contiguous", "offset", "transposed", "sliced", "broadcast")
THREADS = (1, 2, 3, 7)


# ---- comparing -------------------------------------------------------------------------------------------------------

def array_of(x):
    """x as an array: of a tensor, its memory."""
    return x.detach().numpy() if isinstance(x, fastnn.Tensor) else np.asarray(x)


def compare(got, want, dtype, tol=4, bound=None, what="result"):
    """Fail unless got has want's shape, the dtype named, and want's values: integers and booleans exactly (want is cut
    to the type and wraps as it does); reals with NaN and infinities in the same places, elsewhere within tol roundings
    of `bound`, which is |want| unless given."""
    got, want = array_of(got), np.asarray(want)
    assert got.dtype.name == dtype, f"{what}: dtype {got.dtype.name}, expected {dtype}"
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if got.dtype.kind != "f":
        bad = got != want.astype(got.dtype)
        error = None
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            rounded, limits = want.astype(got.dtype), np.finfo(got.dtype)
            size = np.abs(want if bound is None else np.broadcast_to(bound, want.shape))
            size = np.where(np.isfinite(size), size, 0)
            error = np.abs(got.astype(np.float64) - want)
            close = error <= tol * limits.eps * size + limits.smallest_normal
        bad = ~np.where(np.isfinite(rounded) & np.isfinite(got), close,
                        (got == rounded) | (np.isnan(got) & np.isnan(rounded)))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        close = "" if error is None else f" (error {error[at]:.3g}, allowed {tol * limits.eps * size[at]:.3g})"
        raise AssertionError(f"{what}: {int(bad.sum())} of {bad.size} elements are wrong, first at {at}: "
                             f"got {got[at]!r}, expected {want[at]!r}{close}")


def same_bits(a, b, what="result"):
    """Fail unless two tensors, or tuples of them, agree in shape, dtype and every bit."""
    for i, (x, y) in enumerate(zip(_tuple(a), _tuple(b), strict=True)):
        x, y = array_of(x), array_of(y)
        alike = (x.shape, x.dtype) == (y.shape, y.dtype)
        assert alike, f"{what} {i}: {x.dtype} of {x.shape} against {y.dtype} of {y.shape}"
        if x.tobytes() != y.tobytes():
            bits = [v.reshape(-1).copy().view(f"u{v.itemsize}") for v in (x, y)]
            k = int(np.argmax(bits[0] != bits[1]))
            raise AssertionError(f"{what} {i}: {np.count_nonzero(bits[0] != bits[1])} of {x.size} elements differ in "
                                 f"bits, first number {k}: {x.reshape(-1)[k]!r} against {y.reshape(-1)[k]!r}")


def _tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


# ---- operands --------------------------------------------------------------------------------------------------------

def laid_out(array, layout):
    """A tensor of the array's values in a layout, and its values: 'broadcast' repeats the first along dimension 0 by
    stride 0. What surrounds it in memory is poison."""
    n, dtype = array.shape, getattr(fastnn, array.dtype.name)
    poison = {"f": float("nan"), "b": 1}.get(array.dtype.kind, 113)
    if layout == "contiguous" or array.ndim == 0:
        t = fastnn.empty(n, dtype=dtype)
    elif layout == "offset":
        t = fastnn.full((array.size + 2,), poison, dtype=dtype)[1:-1].view(n)
    elif layout == "transposed":
        t = fastnn.empty(n[::-1], dtype=dtype).permute(*reversed(range(array.ndim)))
    elif layout == "sliced":
        t = fastnn.full((n[0] + 2,) + n[1:-1] + (2 * n[-1] + 1,), poison, dtype=dtype)[1:-1]
        t = t[..., 1::2] if array.ndim > 1 else fastnn.full((2 * n[0] + 1,), poison, dtype=dtype)[1::2]
    elif layout == "broadcast":
        base = fastnn.empty((min(n[0], 1),) + n[1:], dtype=dtype)
        array = np.ascontiguousarray(np.broadcast_to(array[:1], n))
        if array.size:
            base.numpy()[...] = array[:1]
        return base.expand(n) if n[0] else base, array
    t.numpy()[...] = array
    return t, array


def laid_images(a, layout):
    """A tensor over the memory of images (N,C,H,W): 0 row-major, 1 channels last, 2 every other element of something larger."""
    if layout == 1:
        a = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == 2:
        around = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
        around[tuple(slice(1, None, 2) for _ in a.shape)] = a
        a = around[tuple(slice(1, None, 2) for _ in a.shape)]
    return fastnn.from_numpy(a)


def bad_pixels(channels, seen, window, bad, dtype):
    """Images (2, channels, 12, 20) of ones but for one bad number, and where in (2, seen, 12, 20) the window around it lies: corners, within, an edge."""
    for h, column in ((0, 0), (5, 7), (11, 19), (4, 0)):
        images, hit, reach = np.ones((2, channels, 12, 20), dtype), np.zeros((2, seen, 12, 20), bool), window // 2
        images[1, -1, h, column] = bad
        hit[1, :, max(h - reach, 0):h + reach + 1, max(column - reach, 0):column + reach + 1] = True
        yield images, hit


def wide(a):
    """An operand as its meaning takes it: float64, int64 or bool."""
    if not isinstance(a, np.ndarray):
        return a
    return a.astype({"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}[a.dtype.kind])


# ---- the machine, held still -----------------------------------------------------------------------------------------

@contextlib.contextmanager
def machine(isa=None, threads=None, every_thread=True):
    """Within it fastnn uses that instruction set and number of threads; with every_thread small operations are shared
    out too."""
    before = _core.get_isa(), fastnn.get_num_threads(), _core.set_work_grains(0, 0) if every_thread else None
    try:
        if isa is not None:
            _core.set_isa(isa)
        if threads is not None:
            fastnn.set_num_threads(threads)
        yield
    finally:
        _core.set_isa(before[0])
        fastnn.set_num_threads(before[1])
        if every_thread:
            _core.set_work_grains(*before[2])


def everywhere(run):
    """run() on each instruction set and number of threads: the same bits for all threads, nothing written beside the results."""
    for isa in _core.isas():
        first = None
        for n in THREADS:
            with machine(isa, n):
                y = [t for t in run() if t is not None]
            first = first or y
            same_bits(first, y, f"{isa}, {n} threads")
            assert all(_core.guard_words_whole(t) for t in y)
        yield first


def captured_everywhere(step, leaves, *args):
    """step(*args) and the gradients that it leaves at `leaves`: the same bits eager and captured, by any number of threads. Gives the operations of
    the program."""
    first = None
    for n in THREADS:
        with machine(threads=n):
            captured = fastnn.capture(step)
            for run in (step, captured, captured, captured):
                found = run(*args), *(p.grad.clone() for p in leaves)        # a gradient that is held would be recorded anew
                first = first or found
                same_bits(first, found, f"{n} threads, captured={run is captured}, result or gradient")
            assert captured.replays
    return {op for op, _ in captured.operations()[0]}


def as_pytorch(torch, run, *arrays, tol=1e-10):
    """run(library, *leaves) in both libraries: its result, and the gradients of the sum of its squares, within tol. Gives ours."""
    ends = []
    for library in (torch, fastnn):
        leaves = [library.tensor(a, requires_grad=True) for a in arrays]
        y = run(library, *leaves)
        (y * y).sum().backward()
        ends.append([y.detach(), *(p.grad for p in leaves)])
    for i, (theirs, ours) in enumerate(zip(*ends)):
        assert ours.shape == tuple(theirs.shape), f"shape {tuple(ours.shape)} against {tuple(theirs.shape)}"
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=tol, err_msg=f"gradient {i - 1}" if i else "result")
    return ends[1][0]


# ---- gradients -------------------------------------------------------------------------------------------------------

def numeric_gradient(f, arrays, which, dys, most=16, h=1e-5):
    """(places, d sum(dy f(arrays)) / d arrays[which] there) by central differences in float64, at no more than `most`
    places."""
    arrays = [wide(a) for a in arrays]
    x, rng = arrays[which], np.random.default_rng(0)
    places = np.arange(x.size) if x.size <= most else rng.choice(x.size, most, replace=False)

    def moved(change, k):
        y = x.copy()
        y.reshape(-1)[k] += change
        return _tuple(f(*arrays[:which], y, *arrays[which + 1:]))

    def slope(k):                            # results are subtracted before they are summed: large sums would hide the step
        pairs = zip(dys, moved(h, k), moved(-h, k))
        return sum(np.sum(dy * (up - down)) for dy, up, down in pairs if dy is not None) / (2 * h)
    return places, np.array([slope(k) for k in places])


def _slopes(mean, arrays, wants, grads, dtype):
    """(weights of the real results, {operand: its numeric gradient})."""
    rng = np.random.default_rng(1)
    dys = [rng.uniform(0.5, 1.5, np.shape(w)).astype(dtype) for w in wants if np.asarray(w).dtype.kind == "f"]
    return dys, {i: numeric_gradient(mean, arrays, i, dys) for i in grads}


def _gradients(run, tensors, grads):
    """Leaves over the tensors, and a step that sends dys back from run's results to those of `grads`."""
    leaves = [t.detach().requires_grad_() if i in grads else t for i, t in enumerate(tensors)]

    def step(*dys):
        for i in grads:
            leaves[i].grad = None
        fastnn.autograd.backward([y for y in _tuple(run(*leaves)) if y.requires_grad], list(dys))
    return leaves, step


# ---- check_op --------------------------------------------------------------------------------------------------------

def check_op(run, mean, *args, op=None, dtypes=REALS, layouts=LAYOUTS, out=None, tol=4, bound=None, grads=(),
             grad_tol=None, before=None, capture=True,
             isas=None, threads=THREADS, same_everywhere=False):
    """Run `run` in every way that must not matter and compare it with `mean`.

    run      takes tensors, gives a tensor or a tuple of them
    mean     takes the same as float64, int64 or bool arrays, and gives arrays
    args     operands: float64 arrays take each dtype in turn; other arrays, numbers and None stay what they are
    op       name of the operation in ops.inc that a captured program of run must contain, for the dtype at hand;
             or (name, dtype)
    out      dtype names of the results where they differ from the operands', which is None; bool results need no naming
    bound    from the operands, the size against which a rounding is measured: a sum's is the sum of the sizes.
             None: the result's own
    grads    which operands have gradients, checked by finite differences of mean
    before   called before each run (to set a seed)
    same_everywhere: all layouts must give the same bits

    Ways: dtypes x layouts x instruction sets x threads, bit for bit the same for all threads; nothing but the result
    written; a replayed program the same bits as the eager call, in the result and in the gradients.
    """
    before = before or (lambda: None)
    isas = isas or _core.isas()
    for dtype in dtypes:
        operands = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in args]
        plain = {}
        for layout in layouts if any(isinstance(a, np.ndarray) and a.ndim for a in operands) else layouts[:1]:
            pairs = [laid_out(a, layout) if isinstance(a, np.ndarray) else (a, a) for a in operands]
            tensors, arrays = [p[0] for p in pairs], [p[1] for p in pairs]
            wants = _tuple(mean(*map(wide, arrays)))
            names = [name or ("bool" if np.asarray(w).dtype == bool else dtype) for name,
                     w in zip(_tuple(out) if out else [None] * len(wants), wants)]
            full = all(np.size(a) for a in (*wants, *arrays))
            size = None if bound is None else bound(*map(wide, arrays))
            slopes = _slopes(mean, arrays, wants, grads, dtype) if grads and dtype in REALS else None
            for isa in isas:
                what = f"{op or getattr(run, '__name__', 'op')} {dtype} {layout} {isa}"
                with machine(isa):
                    first = _check_forward(run, tensors, arrays, wants, names, tol, size, before, threads, what)
                    if same_everywhere and layout != "broadcast":
                        same_bits(plain.setdefault(isa, first), first, f"{what}, against {layouts[0]}")
                    if capture:
                        _check_capture(run, tensors, first, before, full and op
                                       and ((op, dtype) if isinstance(op, str) else op), what)
                    if slopes:
                        _check_gradients(run, tensors, slopes, grad_tol, before, threads, capture, what)


def _check_forward(run, tensors, arrays, wants, names, tol, bound, before, threads, what):
    first = None
    for n in threads:
        fastnn.set_num_threads(n)
        before()
        got = _tuple(run(*tensors))
        assert len(got) == len(wants), f"{what}: {len(got)} results, expected {len(wants)}"
        if first is None:
            first = got
            for i, (g, w, name) in enumerate(zip(got, wants, names)):
                compare(g, w, name, tol, bound, f"{what}, result {i}")
        same_bits(first, got, f"{what}: {n} threads against {threads[0]}, result")
        whole = [_core.guard_words_whole(t) for t in (*got, *tensors) if isinstance(t, fastnn.Tensor)]
        assert all(whole), f"{what}: wrote outside its memory"
    for t, a in zip(tensors, arrays):
        if isinstance(t, fastnn.Tensor):
            assert array_of(t).tobytes() == a.tobytes(), f"{what}: wrote to an operand"
    return first


def _check_capture(run, tensors, first, before, op, what):
    given = [i for i, t in enumerate(tensors) if isinstance(t, fastnn.Tensor)]

    def step(*inputs):
        whole = list(tensors)
        for i, t in zip(given, inputs):
            whole[i] = t
        return run(*whole)
    captured = fastnn.capture(step)
    for n in (1, 3):
        fastnn.set_num_threads(n)
        for call in range(4):
            before()
            same_bits(first, captured(*[tensors[i] for i in given]),
                      f"{what}: call {call} of a captured function, {n} threads, result")
    assert captured.replays == 4, f"{what}: {captured.replays} replays, expected 4"
    if op:                                           # an operation on nothing may be left out
        assert op in captured.operations()[0], f"{what}: the program {captured.operations()[0]} does not contain {op}"


def _check_gradients(run, tensors, slopes, tol, before, threads, capture, what):
    dys, wanted = slopes
    tol = tol or (1e-5 if dys[0].dtype == np.float32 else 1e-7)
    leaves, step = _gradients(run, tensors, list(wanted))
    given = [fastnn.from_numpy(dy) for dy in dys]
    first = None
    for n in threads:
        fastnn.set_num_threads(n)
        before()
        step(*given)
        found = tuple(leaves[i].grad.clone() for i in wanted)
        first = first or found
        same_bits(first, found, f"{what}: {n} threads, gradient")
        assert all(_core.guard_words_whole(leaves[i].grad) for i in wanted), f"{what}: wrote outside its gradients' memory"
    for (i, (places, want)), g in zip(wanted.items(), first):
        alike = (g.shape, g.dtype) == (leaves[i].shape, leaves[i].dtype)
        assert alike, f"{what}: gradient {i} is {g.dtype} of {tuple(g.shape)}"
        got = array_of(g).reshape(-1)[places].astype(np.float64)
        room = tol * np.abs(want).max(initial=0) + 1e-6
        bad = ~(np.abs(got - want) <= room)
        if bad.any():
            k = int(np.argmax(bad))
            raise AssertionError(f"{what}: gradient of operand {i}, {int(bad.sum())} of {bad.size} elements are wrong, "
                                 f"first number {places[k]}: got {got[k]!r}, finite differences give {want[k]!r} "
                                 f"(allowed error {room:.3g})")
    if capture:
        captured = fastnn.capture(step)
        for call in range(4):
            before()
            captured(*given)
            same_bits(first, tuple(leaves[i].grad for i in wanted),
                      f"{what}: call {call} of a captured backward, gradient")
        assert captured.replays, f"{what}: the captured backward was never replayed"
