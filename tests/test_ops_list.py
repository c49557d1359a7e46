"""Every line of csrc/ops.inc has a meaning in ref/ and cases, which are run in every way that must not matter."""
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
import ref
from cases import CASES, randn
from check import ALL, INTS, NUMS, REALS, check_op, compare, machine, same_bits
from fastnn import _core, ops

OPS_INC = Path(__file__).resolve().parent.parent / "csrc" / "ops.inc"
TYPES = {"REALS": REALS, "NUMS": NUMS, "ALL": ALL, "INTS": INTS + ("bool",)}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("op", CASES)
def test_op(op):
    for run, mean, args, options in CASES[op]:
        check_op(run, mean, *args, **options)


# ---- layouts of every kind -------------------------------------------------------------------------------------------

def any_layout(rng, dtype):
    """A tensor of random shape, with some dimensions repeated, cut out or strided, in any order."""
    shape = [int(n) for n in rng.integers(1, rng.choice([4, 9, 40]), rng.integers(1, 5))]
    kinds = rng.choice(["whole", "whole", "once", "cut", "step"], len(shape))
    order = rng.permutation(len(shape))
    held = [{"whole": n, "once": 1, "cut": n + 2, "step": 2 * n}[k] for n, k in zip(shape, kinds)]
    x = fastnn.tensor(rng.standard_normal([held[d] for d in order]).astype(dtype))
    x = x.permute(*[int(d) for d in np.argsort(order)])
    return x[tuple({"cut": slice(1, -1), "step": slice(1, None, 2)}.get(k, slice(None)) for k in kinds)].expand(*shape)


FUNCTIONS = {
    "sum": lambda x, d: x.sum(d), "mean": lambda x, d: x.mean(d), "var": lambda x, d: x.var(d),
    "norm": lambda x, d: x.norm(2, d), "prod": lambda x, d: x.prod(d[0]), "amax": lambda x, d: x.amax(d),
    "argmin": lambda x, d: x.argmin(d[0]), "cumsum": lambda x, d: x.cumsum(d[0]), "copy": lambda x, d: x.clone(),
    "softmax": lambda x, d: x.softmax(d[0]), "logsumexp": lambda x, d: x.logsumexp(d),
    "sort": lambda x, d: x.sort(d[0])[0],
    "elementwise": lambda x, d: (x.exp() * x.sigmoid() + x[..., :1]).tanh(),
    "matmul": lambda x, d: x @ (x.transpose(-1, -2) if x.dim() > 1 else x),
    "linear": lambda x, d: fastnn.nn.functional.linear(x, x.reshape(-1, x.shape[-1])[:3]),
    "mse": lambda x, d: fastnn.nn.functional.mse_loss(x, x * x), "gather": lambda x, d: x.gather(d[0], x.argsort(d[0]))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_layout(name):
    """The values of the dense copy; and the bits of the eager call when captured, whose inputs are copies."""
    rng, f = np.random.default_rng(len(name)), FUNCTIONS[name]
    for trial in range(40):
        x = any_layout(rng, REALS[trial % 2])
        dims = tuple(int(d) for d in rng.choice(x.dim(), rng.integers(1, x.dim() + 1), replace=False))
        with machine(threads=3):
            eager, captured = f(x, dims), fastnn.capture(lambda x: f(x, dims))
            what = f"{name} over {dims} of {tuple(x.shape)} with strides {x.stride()}"
            np.testing.assert_allclose(eager.numpy(), f(fastnn.tensor(x.numpy()), dims).numpy(), rtol=1e-4, atol=1e-4,
                                       err_msg=what)
            for _ in range(3):
                same_bits(eager, captured(x), what)


# ---- optimizers and clipping, step by step ---------------------------------------------------------------------------

STEPS, START = 4, [randn(7, 5), randn(3), randn(130)]
GRADS = [[randn(*p.shape) * (1 + k) for p in START] for k in range(STEPS)]
OPTIMIZERS = [("sgd", "SGD", {}), ("sgd", "SGD", {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
              ("sgd", "SGD", {"momentum": 0.9, "nesterov": True}),
              ("sgd", "SGD", {"maximize": True, "weight_decay": 0.1}), ("adam", "Adam", {}),
              ("adam", "Adam", {"amsgrad": True, "weight_decay": 0.1}),
              ("adam", "AdamW", {"betas": (0.8, 0.9), "eps": 1e-3}),
              ("adam", "AdamW", {"amsgrad": True, "maximize": True}), ("rmsprop", "RMSprop", {}),
              ("rmsprop", "RMSprop", {"alpha": 0.4, "centered": True, "momentum": 0.9, "weight_decay": 0.1}),
              ("adagrad", "Adagrad", {}), ("adagrad", "Adagrad", {"lr_decay": 0.5, "weight_decay": 0.1, "maximize": True})]


def train(kind, options, dtype, clip, captured):
    """The parameters and gradients after each step of an optimizer under given gradients, and the operations of the
    captured step."""
    params = [fastnn.nn.Parameter(fastnn.tensor(a.astype(dtype))) for a in START]
    optimizer = getattr(fastnn.optim, kind)(params, lr=0.1, **options)

    def step(*grads):
        optimizer.zero_grad()
        total = sum((p * g).sum() for p, g in zip(params, grads))
        total.backward()
        norm = clip(params)
        optimizer.step()
        return norm
    run, history = fastnn.capture(step) if captured else step, []
    for grads in GRADS:
        norm = run(*[fastnn.tensor(g.astype(dtype)) for g in grads])
        history += [p.detach().clone() for p in params] + [p.grad.clone() for p in params]
        history += [norm] if norm is not None else []
    return history, {op for op, d in run.operations()[0] if d == dtype} if captured else set()


def everywhere(kind, options, dtype, clip):
    """train() on each instruction set; for all threads, eager and captured, with the same bits."""
    for isa in _core.isas():
        first = None
        for n in (1, 2, 3, 7):
            for captured in (False, True):
                with machine(isa, n):
                    history, ops = train(kind, options, dtype, clip, captured)
                first = first or history
                same_bits(first, history, f"{kind} {options} {dtype} {isa}, {n} threads, captured={captured}, number")
        yield first, ops


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("op, kind, options", OPTIMIZERS)
def test_optimizer(op, kind, options, dtype):
    for history, ops in everywhere(kind, options, dtype, lambda params: None):
        assert op in ops and ("optim_tick" in ops or op == "sgd" and "momentum" not in options)
        for i, p in enumerate(START):
            p, state = p.astype(dtype).astype(float), None if op == "sgd" else (0, 0, 0)
            m, v, vmax = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p) if options.get("amsgrad") else None
            rest = {k: x for k, x in options.items() if k != "amsgrad"}
            for k in range(STEPS):
                g = GRADS[k][i].astype(dtype).astype(float)
                if op == "sgd":
                    p, state = ref.sgd(p, g, state, lr=0.1, **rest)
                elif op == "rmsprop":
                    p, *state = ref.rmsprop(p, g, *state, lr=0.1, **rest)
                elif op == "adagrad":
                    p, v = ref.adagrad(p, g, v, k + 1, lr=0.1, **rest)
                else:
                    rest.setdefault("weight_decay", 0.01 if kind == "AdamW" else 0)
                    p, m, v, vmax = ref.adam(p, g, m, v, k + 1, vmax, lr=0.1, decoupled=kind == "AdamW", **rest)
                compare(history[6 * k + i], p, dtype, tol=30, bound=np.abs(p) + 1, what=f"{kind} {options}, step {k}")


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("power", [1, 2, 3.5, float("inf")])
def test_clipping_by_norm(dtype, power):
    for history, ops in everywhere("SGD", {}, dtype, lambda p: fastnn.nn.utils.clip_grad_norm_(p, 12.0, power)):
        assert {"grad_norm", "grad_scale"} <= ops
        for k in range(STEPS):
            grads = [g.astype(dtype).astype(float) for g in GRADS[k]]
            norm = ref.grad_norm(*grads, power=power)
            compare(history[7 * k + 6], norm, dtype)
            for i, g in enumerate(grads):
                compare(history[7 * k + 3 + i], ref.grad_scale(g, norm, 12.0), dtype)


@pytest.mark.parametrize("dtype", REALS)
def test_clipping_by_value(dtype):
    for history, ops in everywhere("SGD", {}, dtype, lambda params: fastnn.nn.utils.clip_grad_value_(params, 0.7)):
        assert "grad_clamp" in ops
        for k in range(STEPS):
            for i, g in enumerate(GRADS[k]):
                compare(history[6 * k + 3 + i], ref.grad_clamp(g.astype(dtype).astype(float), 0.7), dtype, tol=1)


# ---- in place --------------------------------------------------------------------------------------------------------

HALF, MASK, INDEX = fastnn.full((5, 6), 0.5), fastnn.arange(30).view(5, 6) % 3 == 0, fastnn.tensor([4, 0])
OPERANDS = {
    **dict.fromkeys(("clamp", "dropout"), (0.7, 1.5)),
    **dict.fromkeys(("clamp_min", "clamp_max", "pow", "eq", "ne", "lt", "le", "gt", "ge"), (1.5,)),
    "addcmul": (HALF, HALF[0]), "masked_fill": (MASK, 3.0), "index_fill": (0, INDEX, 3.0),
    "index_put": ((INDEX, INDEX), HALF[0, :2]),
    **dict.fromkeys(("index_add", "index_copy"), (0, INDEX, HALF[:2])),
    **dict.fromkeys(("scatter", "scatter_add"), (0, INDEX[:, None], HALF)),
    **dict.fromkeys(("add", "sub", "mul", "div", "true_divide", "floor_divide", "remainder", "logical_and",
                     "logical_or", "logical_xor"), (HALF[:, :1],)),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), (fastnn.full((6,), 2),))}


@pytest.mark.parametrize("name", sorted({n for module in ops.MODULES for n in module.INPLACE}))
def test_in_place_writes_its_view_alone(name):
    """y.f_() of a view with gaps is f(y) in y's type, and what lies between stays."""
    around = fastnn.rand(7, 13) * 3 + 0.5
    around = around.long() if name.startswith("bitwise") else around
    want, y = around.clone(), around[1:-1, 1::2]
    for x, method in ((want[1:-1, 1::2], False), (y, True)):
        fastnn.manual_seed(3)
        if method:
            assert getattr(x, name + "_")(*OPERANDS.get(name, ())) is x
        else:
            function = getattr(type(x), name, None) or getattr(fastnn, name)
            x.copy_(function(x.clone(), *OPERANDS.get(name, ())))
    same_bits(around, want)


# ---- nothing is left out ---------------------------------------------------------------------------------------------

def listed():
    """{op: element types} as csrc/ops.inc has them; without that file (an installed wheel), the names alone."""
    if not OPS_INC.exists():
        return {name: () for name, *_ in _core.ops()}
    return {m[1]: TYPES[m[2]] for m in re.finditer(r"^FN_OP\((\w+), *\w+, *(\w+),", OPS_INC.read_text(), re.M)}


STEPPED = ("dense_step", "sgd", "adam", "rmsprop", "adagrad", "optim_tick", "grad_norm", "grad_scale", "grad_clamp")


def test_every_operation_is_listed_meant_and_checked():
    assert list(listed()) == [name for name, *_ in _core.ops()]
    assert not [op for op in listed() if not callable(ref.meaning(op))]
    assert set(CASES) | set(STEPPED) == set(listed()) and not set(CASES) & set(STEPPED)


@pytest.mark.parametrize("op", CASES)
def test_every_type_is_checked(op):
    """Each element type of the op's line has a case, and no case asks for more."""
    checked = {d if isinstance(o["op"], str) else o["op"][1] for *_, o in CASES[op] for d in o.get("dtypes", REALS)}
    assert not OPS_INC.exists() or checked == set(listed()[op])
