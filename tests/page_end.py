"""Run by test_page_end.py: page_end.py ISA DTYPE end|begin. Says what it is about to run, and "done" at last."""
import ctypes, mmap, sys
import numpy as np
import fastnn
import fastnn.nn.functional as F
from fastnn import _core, nn, optim

isa, dtype, side = sys.argv[1:]
_core.set_isa(isa)
_core.set_work_grains(0, 0)
C, PAGE, kept = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE, []

def guarded(a):
    """A tensor of a's values (reals as dtype) between two pages that may not be touched, against the one or the other."""
    a = np.array(a, dtype if np.asarray(a).dtype.kind == "f" else None, order="C")
    size = -(-max(a.nbytes, 1) // PAGE) * PAGE
    m = mmap.mmap(-1, size + 2 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(m))
    for at in (start, start + PAGE + size):
        assert C.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(PAGE), 0) == 0, ctypes.get_errno()
    kept.append(m)
    b = np.frombuffer(m, a.dtype, a.size, PAGE + (size - a.nbytes if side == "end" else 0)).reshape(a.shape)
    b[...] = a
    return fastnn.from_numpy(b)

def nhwc(t):
    """As guarded, pixels of channels in memory."""
    return guarded(np.moveaxis(t, 1, -1)).permute(0, -1 % t.ndim, *range(1, t.ndim - 1))

rng = np.random.default_rng(0)
def some(*shape):
    return rng.uniform(0.1, 0.9, shape)

def run(name, f, *arrays, place=guarded):
    """f of the first array in place, the others row-major, forward and backward."""
    print(name, flush=True)
    ts = [a if a is None or not isinstance(a, np.ndarray) else (place if i == 0 else guarded)(a) for i, a in enumerate(arrays)]
    ts = [t.requires_grad_() if isinstance(t, fastnn.Tensor) and t.dtype.is_floating_point else t for t in ts]
    for threads in (1, 3):
        fastnn.set_num_threads(threads)
        y = f(*ts)
        if y.requires_grad:
            for turn in (guarded, nhwc)[:1 + (y.ndim == 4)]:
                y.backward(turn(some(*y.shape)), retain_graph=True)

for place in (guarded, nhwc):
    for x, w, options in [((2, 3, 9, 21), (5, 3, 3, 3), dict(padding=1)), ((2, 1, 9, 21), (2, 1, 5, 5), {}), ((1, 7, 9, 10), (7, 1, 3, 3), dict(groups=7)),
                          ((2, 5, 7, 9), (33, 5, 1, 1), {}), ((2, 5, 11, 13), (9, 5, 3, 2), dict(stride=2, padding=1)), ((9, 6, 5, 5), (7, 6, 3, 3), {}),
                          ((2, 48, 14, 15), (48, 48, 3, 3), dict(padding=1)), ((2, 6, 9, 9), (4, 3, 2, 2), dict(groups=2, dilation=2))]:
        run(f"conv2d {x} {w}", lambda a, b, c: F.conv2d(a, b, c, **options), some(*x), some(*w), some(w[0]), place=place)
    for c in (1, 3, 17):
        for k, options in [(2, {}), (3, dict(stride=2, padding=1)), (3, dict(stride=1)), (2, dict(stride=3)), (5, dict(stride=2, ceil_mode=True))]:
            run(f"max_pool2d {c} {k} {options}", lambda a: F.max_pool2d(a, k, **options), some(2, c, 11, 37), place=place)
            run(f"avg_pool2d {c} {k} {options}", lambda a: F.avg_pool2d(a, k, **options), some(2, c, 11, 37), place=place)
        for pool in (F.max_pool2d, F.avg_pool2d):              # whose windows end where the memory does
            run(f"{pool.__name__} {c} even", lambda a: pool(a, 2), some(2, c, 8, 18), place=place)
        run(f"adaptive_avg_pool2d {c}", lambda a: F.adaptive_avg_pool2d(a, (3, 4)), some(2, c, 11, 37), place=place)
        run(f"batch_norm {c}", lambda a, w, b: F.batch_norm(a, None, None, w, b, True), some(5, c, 3, 7), some(c), some(c), place=place)
        mean, var = guarded(some(c)), guarded(some(c))
        run(f"batch_norm {c} eval", lambda a, w, b: F.batch_norm(a, mean, var, w, b), some(5, c, 9, 13), some(c), some(c), place=place)
        run(f"batch_norm {c} lines", lambda a, w, b: F.batch_norm(a, mean, var, w, b, True), some(2, c, 9, 13), some(c), some(c), place=place)
    for c in (1, 3, 17):
        for mode in ("nearest", "bilinear"):
            for size in ((22, 74), (5, 16), (11, 80), (30, 37)):
                run(f"interpolate {c} {mode} {size}", lambda a: F.interpolate(a, size, mode=mode), some(2, c, 11, 37), place=place)
    run("group_norm", lambda a, w, b: F.group_norm(a, 3, w, b), some(2, 6, 5, 7), some(6), some(6), place=place)
for n in (1, 7, 16, 33, 130):
    run(f"layer_norm {n}", lambda a, w, b: F.layer_norm(a, (n,), w, b), some(19, n), some(n), some(n))
    run(f"rms_norm {n}", lambda a, w: F.rms_norm(a, (n,), w), some(19, n), some(n))
    run(f"linear {n}", F.linear, some(7, n), some(n + 2, n), some(n + 2))
    run(f"matmul {n}", fastnn.matmul, some(3, 5, n), some(3, n, 9))
    run(f"matmul {n} to few columns", fastnn.matmul, some(70, n), some(n, 3))
    run(f"matmul {n} of columns", lambda a, b: a.permute(1, 0) @ b, some(n, 37), some(n, 100))
    for dim in (0, 1):
        for name in ("softmax", "log_softmax", "logsumexp"):
            run(f"{name} {n} {dim}", lambda a: getattr(fastnn, name)(a, dim), some(7, n))
    for classes in (rng.integers(0, n, 7), some(7, n)):
        run(f"cross_entropy {n}", lambda a: F.cross_entropy(a, guarded(classes), guarded(some(n)), label_smoothing=0.1), some(7, n))
    run(f"cross_entropy {n} columns", lambda a: F.cross_entropy(a, guarded(np.zeros((3, n), int))), some(3, 5, n))
    run(f"nll_loss {n}", lambda a: F.nll_loss(a, guarded(rng.integers(0, n, 7)), guarded(some(n))), some(7, n))
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.kl_div):
        for reduction in ("none", "batchmean" if loss is F.kl_div else "mean"):
            run(f"{loss.__name__} {n} {reduction}", lambda a, b: loss(a, b, reduction=reduction), some(3, n), some(3, n))
    run(f"gaussian_nll_loss {n}", F.gaussian_nll_loss, some(3, n), some(3, n), some(3, n))
    for name in ("exp", "log", "sqrt", "abs", "neg", "sigmoid", "tanh", "relu", "sum", "mean", "max", "min", "prod", "var", "argmax", "std"):
        run(f"{name} {n}", getattr(fastnn, name), some(3, n))
        if name in ("sum", "max", "mean", "argmax"):
            for dim in (0, 1):
                run(f"{name} {n} {dim}", lambda a: (lambda y: y if isinstance(y, fastnn.Tensor) else y.values)(getattr(a, name)(dim)), some(3, n))
    for name in ("gelu", "silu", "elu", "softplus", "leaky_relu", "hardtanh"):
        run(f"{name} {n}", getattr(F, name), some(3, n))
    for name in ("add", "sub", "mul", "div", "pow", "maximum", "lt"):
        run(f"{name} {n}", getattr(fastnn, name), some(3, n), some(3, n))
        run(f"{name} {n} row", getattr(fastnn, name), some(3, n), some(n))
    run(f"where {n}", lambda a, b: fastnn.where(guarded(np.ones((3, n), bool)), a, b), some(3, n), some(3, n))
    run(f"cumsum {n}", lambda a: a.cumsum(1), some(3, n))
    run(f"sort {n}", lambda a: a.sort(1).values, some(3, n))
    run(f"embedding {n}", lambda w: F.embedding(guarded(rng.integers(0, 4, 9)), w), some(4, n))
    run(f"gather {n}", lambda a: a.gather(1, guarded(rng.integers(0, n, (3, 2)))), some(3, n))
    run(f"dropout {n}", lambda a: F.dropout(a, 0.5), some(3, n))
    run(f"cast {n}", lambda a: a.to(fastnn.int64).to(fastnn.float64), some(3, n))
    for make in (lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: optim.Adam(p, amsgrad=True),
                 lambda p: optim.RMSprop(p, centered=True, momentum=0.9), optim.Adagrad):
        print(f"optimizer {n}", flush=True)
        ps = [guarded(some(k)).requires_grad_() for k in (n, 1, n + 64)]
        for p in ps:
            p.grad = guarded(some(*p.shape))
        nn.utils.clip_grad_norm_(ps, 0.1)
        nn.utils.clip_grad_value_(ps, 0.05)
        make(ps).step()
print("done")
