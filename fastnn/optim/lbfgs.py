"""L-BFGS, with a line search."""
import math
from collections import namedtuple

from .. import _core
from ..autograd import enable_grad, no_grad
from ..ops.create import zeros_like
from ..ops.shape import cat, reshape, split
from .optimizer import Optimizer, _check_lr

Point = namedtuple("Point", "t loss grad slope")             # on the line of a search; slope = grad . direction


class LBFGS(Optimizer):
    """p += t d with d = -H g, where H is the inverse Hessian that the last moves tell of. A step makes up to max_iter such
    moves. t is lr, in the first move of all min(1, 1 / sum |g|) lr, or what a line search finds from there.

    Args:
        params: iterable of Tensors; there is only one group.
        lr: learning rate, a number or a Tensor of one element.
        max_iter, max_eval: moves, and calls of the closure (None: 1.25 max_iter), of a step.
        tolerance_grad: a step ends where no |g| is larger.
        tolerance_change: a step ends where neither parameters nor loss change more.
        history_size: moves remembered.
        line_search_fn: 'strong_wolfe' or None.

    Errors: ValueError for a negative lr and for a second group; RuntimeError for another line search; CaptureError for a
    step in a captured function, since it goes by the loss: capture what the closure calls instead.
    Source: Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989; the line search: Nocedal
    and Wright, Numerical optimization, 2006, algorithms 3.5 and 3.6; both in PyTorch's form.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([4.0, 2.0], requires_grad=True)
        >>> optimizer = fastnn.optim.LBFGS([w], line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = ((w - fastnn.tensor([1.0, 3.0])) ** 2).sum()
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item()
        10.0
        >>> w.detach()
        tensor([1., 3.])
    """

    def __init__(self, params, lr=1, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9,
                 history_size=100, line_search_fn=None):
        _check_lr(lr)
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, got line_search_fn={line_search_fn!r}")
        super().__init__(params, dict(lr=lr, max_iter=max_iter, max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
                                      tolerance_grad=tolerance_grad, tolerance_change=tolerance_change,
                                      history_size=history_size, line_search_fn=line_search_fn))

    def add_param_group(self, param_group):
        """The first group; ValueError for another."""
        if self.param_groups:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        super().add_param_group(param_group)

    @no_grad()
    def step(self, closure):
        """Up to max_iter moves; returns the loss before them.

        closure: a function that clears the gradients, computes the loss, calls its backward() and returns it."""
        _core.host_reads("LBFGS.step()")
        group, = self.param_groups
        params, lr, change = group["params"], float(group["lr"]), group["tolerance_change"]
        state = self.state[params[0]]
        most = state.setdefault("func_evals", 0) + group["max_eval"]
        state.setdefault("n_iter", 0)

        def evaluate():
            state["func_evals"] += 1
            with enable_grad():
                loss = closure()
            return loss, float(loss), cat([reshape(zeros_like(p) if p.grad is None else p.grad, (-1,)) for p in params])

        def at(t):
            home = [p.clone() for p in params]
            _move(params, t, d)
            _, loss, g = evaluate()
            for p, x in zip(params, home):
                p.copy_(x)
            return Point(t, loss, g, float(g.dot(d)))
        first, loss, g = evaluate()
        if _largest(g) <= group["tolerance_grad"]:
            return first
        for left in reversed(range(group["max_iter"])):
            state["n_iter"] += 1
            d, before = _direction(state, g, group["history_size"]), loss
            t = lr if state["n_iter"] > 1 else min(1.0, 1.0 / float(g.abs().sum())) * lr
            start = Point(0.0, loss, g, float(g.dot(d)))
            state.update(d=d, t=t, prev_flat_grad=g, prev_loss=loss)
            if start.slope > -change:
                break
            if group["line_search_fn"]:
                t, loss, g, _ = _strong_wolfe(at, start, t, most - state["func_evals"], _largest(d), change)
                state["t"] = t
            _move(params, t, d)
            if not left:
                break
            if not group["line_search_fn"]:
                _, loss, g = evaluate()
            if state["func_evals"] >= most or _largest(g) <= group["tolerance_grad"] \
                    or abs(t) * _largest(d) <= change or abs(loss - before) < change:
                break
        return first


def _largest(x):
    return float(x.abs().max())


def _move(params, t, d):
    """p += t d."""
    for p, part in zip(params, split(d, [p.numel() for p in params])):
        p.add_(reshape(part, tuple(p.shape)), alpha=t)


def _direction(state, g, history_size):
    """-H g, once the last move is remembered: s by which the parameters changed, y the gradient, ro = 1 / y.s."""
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return -g
    memory = state["old_dirs"], state["old_stps"], state["ro"]
    y, s = g - state["prev_flat_grad"], state["d"] * float(state["t"])
    ys = float(y.dot(s))
    if ys > 1e-10:
        state["H_diag"] = ys / float(y.dot(y))
        for kept, new in zip(memory, (y, s, 1 / ys)):
            kept.append(new)
            if len(kept) > history_size:
                del kept[0]
    moves, d, shares = list(zip(*memory)), -g, []
    for y, s, ro in reversed(moves):
        shares.append(float(s.dot(d)) * float(ro))
        d.add_(y, alpha=-shares[-1])
    d = d * float(state["H_diag"])
    for (y, s, ro), share in zip(moves, reversed(shares)):
        d.add_(s, alpha=share - float(y.dot(d)) * float(ro))
    return d


# ---- line search -----------------------------------------------------------------------------------------------------

def _strong_wolfe(at, start, t, most, reach, change, c1=1e-4, c2=0.9):
    """A Point after `start` where the loss has fallen by c1 of what the slope promised and the slope to c2 of what it was,
    or the lowest found by then.

    at: t -> Point. t: where to look first. most: points to look at after that. reach: the largest |d|; between points that
    are less than `change` apart there is no need to look."""
    def rises(point, least=math.inf):
        return point.loss > start.loss + c1 * point.t * start.slope or point.loss >= least

    def flat(point):
        return abs(point.slope) <= -c2 * start.slope
    before, new, n = start, at(t), 0
    while n < most and not rises(new, before.loss if n > 1 else math.inf):
        if flat(new):
            return new
        if new.slope >= 0:
            break
        t = _least(before, new, new.t + 0.01 * (new.t - before.t), 10 * new.t)
        before, new, n = new, at(t), n + 1
    ends = [start if n == most else before, new]             # there is such a point between them
    low, slow = ends[0].loss > ends[1].loss, False
    while n < most and not abs(ends[1].t - ends[0].t) * reach < change:
        left, right = sorted(end.t for end in ends)
        t, margin = _least(*ends, left, right), 0.1 * (right - left)
        near = min(right - t, t - left) < margin
        if near and (slow or not left < t < right):
            t, near = right - margin if right - t < t - left else left + margin, False
        new, n, slow = at(t), n + 1, near
        if rises(new, ends[low].loss):
            ends[not low] = new
            low = ends[0].loss > ends[1].loss
        elif flat(new):
            return new
        else:
            if new.slope * (ends[not low].t - ends[low].t) >= 0:
                ends[not low] = ends[low]
            ends[low] = new
    return ends[low]


def _least(a, b, low, high):
    """Where the cubic with the losses and slopes of a and b is least, within low and high; halfway if nowhere."""
    a, b = sorted((a, b), key=lambda point: point.t)
    if a.t < b.t:
        bend = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
        square = bend * bend - a.slope * b.slope
        root = math.sqrt(square) if square >= 0 else math.nan
        below = b.slope - a.slope + 2 * root
        if square >= 0 and below:
            return min(max(b.t - (b.t - a.t) * (b.slope + root - bend) / below, low), high)
    return (low + high) / 2
