"""Softmax and losses."""
from functools import partial

import numpy as np

import ref
from fastnn.nn import functional as F
from .common import RNG, away, case, grad, positive, randn

for n, dim in (((4, 10), 1), ((4, 10), 0), ((2, 3, 5), 1), ((3, 130), 1), ((1, 1), 1), ((40,), 0)):
    for op in ("softmax", "log_softmax"):
        f, g = ref.meaning(op + "_fwd"), ref.meaning(op + "_bwd")
        run = lambda x, d=dim, op=op: getattr(x, op)(d)                                            # noqa: E731
        size = (lambda x, f=f, d=dim: np.abs(f(x, d)) * (1 + np.ptp(x, d, keepdims=True)) if f is ref.softmax_fwd else
                np.abs(f(x, d)) + 1)         # exp(x) is as exact as x
        case(op + "_fwd", run, 3 * randn(*n), mean=partial(f, axis=dim), grads=(0,), tol=8, bound=size)
        case(op + "_bwd", partial(grad, run), randn(*n), 2 * randn(*n), tol=8,
             mean=lambda dy, x, f=f, g=g, d=dim: g(dy, f(x, d), d),
             bound=lambda dy, x, d=dim: np.abs(dy) + np.sum(np.abs(dy), d, keepdims=True))
    case("logsumexp", lambda x, d=dim: x.logsumexp(d), 3 * randn(*n), mean=partial(ref.logsumexp, axis=dim), grads=(0,),
         bound=lambda x, d=dim: np.abs(ref.logsumexp(x, d)) + 3)


def loss(op, function, reduction, smoothing=0, **options):
    """(run, mean, mean of the backward) of a loss; its meaning takes logits (N, C, ...) as (rows, C, inner)."""
    theirs = {**options, "reduction": reduction, **({"smoothing": smoothing} if smoothing else {})}
    ours = {**options, "reduction": reduction, **({"label_smoothing": smoothing} if smoothing else {})}

    def flat(x, target):
        return x.reshape(*x.shape[:2], -1), target.reshape(target.shape[:1 if target.dtype.kind == "i" else 2] + (-1,))

    def run(x, target, weight=None):
        return function(x, target, weight=weight, **ours)

    def mean(x, target, weight=None):
        y = ref.meaning(op + "_fwd")(*flat(x, target), weight, **theirs)
        return y.reshape(x.shape[:1] + x.shape[2:]) if reduction == "none" else y

    def mean_bwd(dy, x, target, weight=None):
        dy = dy.reshape(x.shape[0], -1) if reduction == "none" else dy
        return ref.meaning(op + "_bwd")(dy, *flat(x, target), weight, **theirs).reshape(x.shape)
    return run, mean, mean_bwd


FEW = {"layouts": ("contiguous", "transposed", "sliced"), "threads": (1, 3), "tol": 16}
for reduction in ("mean", "sum", "none"):
    for n, inner in (((5, 4), ()), ((3, 10), (2, 3)), ((70, 9), ())):
        items, C = n[:1] + inner, n[1]
        x, classes, soft = randn(*n, *inner), RNG.integers(0, C, items), RNG.dirichlet(np.ones(C), items)
        soft, dy = np.moveaxis(soft, -1, 1), randn(*(items if reduction == "none" else ()))
        losses = [("nll", F.nll_loss, classes, {}), ("nll", F.nll_loss, classes, {"ignore_index": 1})]
        for target, options in ((classes, {}), (classes, {"ignore_index": 1}), (soft, {}), (soft, {"smoothing": 0.1}),
                                (classes, {"smoothing": 0.2})):
            losses.append(("cross_entropy", F.cross_entropy, target, options))
        for op, function, target, options in losses:
            run, mean, mean_bwd = loss(op, function, reduction, **options)
            weight = [positive(C)] if RNG.integers(2) else []
            case(op + "_fwd", run, x, target, *weight, mean=mean, grads=(0,), **FEW,
                 bound=lambda *args, f=mean: np.abs(f(*args)) + 1)
            case(op + "_bwd", partial(grad, run, read=True), dy, x, target, *weight, mean=mean_bwd,
                 bound=lambda dy, *_: 3 * np.abs(dy).max(), **FEW)
    for n in ((9,), (5, 70), (0, 3)):
        x, dy, some = randn(*n), randn(*(n if reduction == "none" else ())), positive(*n)
        inside, w = (RNG.uniform(0.05, 0.95, n) for _ in range(2))
        for op, function, operands, ours, theirs in (
                ("mse", F.mse_loss, (x, randn(*n)), {}, {}), ("l1", F.l1_loss, (x, x + away(*n)), {}, {}),
                ("huber", F.huber_loss, (x, randn(*n)), {"delta": 0.7}, {"delta": 0.7}),
                ("huber", F.smooth_l1_loss, (x, randn(*n)), {"beta": 0.4}, {"delta": 0.4, "unit": 0.4}),
                ("bce", F.binary_cross_entropy, (inside, w), {}, {}),
                ("bce_logits", F.binary_cross_entropy_with_logits, (3 * x, w), {}, {}),
                ("kl_div", F.kl_div, (x, some), {}, {}), ("kl_div_log", partial(F.kl_div, log_target=True), (x, randn(*n)), {}, {}),
                ("gaussian_nll", F.gaussian_nll_loss, (x, randn(*n), some), {"eps": 0.1}, {"eps": 0.1}),
                ("gaussian_nll", partial(F.gaussian_nll_loss, full=True), (x, randn(*n), some), {}, {"full": True})):
            run = partial(function, reduction=reduction, **ours)
            mean, slope = (partial(ref.meaning(op + way), reduction=reduction, **theirs) for way in ("_fwd", "_bwd"))
            size = max(x.size, 1) if reduction == "sum" else 1
            case(op + "_fwd", run, *operands, mean=mean, grads=tuple(range(len(operands))), grad_tol=2e-5, **FEW, bound=lambda *_, m=size: 9 * m)
            for which in range(len(operands)):
                case(op + "_bwd", partial(grad, run, which=which, read=True), dy, *operands, mean=partial(slope, which=which), **FEW,
                     bound=lambda dy, *_: 9 * np.abs(dy).max(initial=0))
        case("bce_fwd", lambda x, t, w, r=reduction: F.binary_cross_entropy(x, t, w, reduction=r), inside, w, some[..., :1], **FEW,
             mean=lambda x, t, w, r=reduction: ref.bce_fwd(x, t, weight=w, reduction=r), bound=lambda x, *_: 9 * x.size)
        case("bce_logits_fwd", lambda x, t, w, v, r=reduction: F.binary_cross_entropy_with_logits(x, t, w, reduction=r, pos_weight=v),
             x, w, some, positive(n[-1]), mean=lambda x, t, w, v, r=reduction: ref.bce_logits_fwd(x, t, v, weight=w, reduction=r), grads=(0, 1),
             grad_tol=2e-5, bound=lambda x, *_: 30 * x.size, **FEW)
