"""csrc/optim.c and fastnn.optim: steps against their meaning and PyTorch's, groups, and what happens to parameters meanwhile."""
import copy
import itertools
import pickle
import warnings

import numpy as np
import pytest

import fastnn
import ref
from check import machine, same_bits
from fastnn import nn
from fastnn.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from optimizers import KINDS, give, kinds, leaves, near, rate, train, values

SGDS = [dict(momentum=m, dampening=d, weight_decay=w, nesterov=n, maximize=x)
        for m, d, w, n, x in itertools.product((0, 0.9), (0, 0.3), (0, 0.01), (False, True), (False, True)) if not n or (m and not d)]
ADAMS = [dict(betas=b, weight_decay=w, amsgrad=a, maximize=x, eps=e)
         for b, w, a, x, e in itertools.product(((0.9, 0.999), (0.3, 0.5), (0.0, 0.9)), (0, 0.02), (False, True), (False, True), (1e-8, 1e-3))
         if e == 1e-8 or not x]
RMSPROPS = [dict(alpha=a, eps=e, weight_decay=w, momentum=m, centered=c, maximize=x)
            for a, (e, w), m, c, x in itertools.product((0.99, 0.3), ((1e-3, 0), (1e-2, 0.02)), (0, 0.9), (False, True), (False, True))]
ADAGRADS = [dict(lr_decay=d, weight_decay=w, initial_accumulator_value=v, eps=e, maximize=x)
            for d, w, v, e, x in itertools.product((0, 0.2), (0, 0.02), (0, 0.5), (1e-10, 1e-3), (False, True))]


def loose(options):
    """v - c^2 of centered RMSprop loses digits."""
    return 20 if options.get("centered") else 1


def mean_sgd(start, gradients, **options):
    p, b = list(start), [None] * len(start)
    for k, grads in enumerate(gradients):
        for i, g in enumerate(grads):
            p[i], b[i] = ref.sgd(p[i], g, b[i], lr=rate(k), **options)
    return p


def mean_adam(start, gradients, amsgrad, **options):
    p, m, v = list(start), [0 * x for x in start], [0 * x for x in start]
    top = [0 * x if amsgrad else None for x in start]
    for k, grads in enumerate(gradients):
        for i, g in enumerate(grads):
            p[i], m[i], v[i], top[i] = ref.adam(p[i], g, m[i], v[i], k + 1, top[i], lr=rate(k), **options)
    return p


def mean_rmsprop(start, gradients, **options):
    p, state = list(start), [(0, 0, 0)] * len(start)
    for k, grads in enumerate(gradients):
        for i, g in enumerate(grads):
            p[i], *state[i] = ref.rmsprop(p[i], g, *state[i], lr=rate(k), **options)
    return p


def mean_adagrad(start, gradients, initial_accumulator_value=0, **options):
    p, v = list(start), [0 * x + initial_accumulator_value for x in start]
    for k, grads in enumerate(gradients):
        for i, g in enumerate(grads):
            p[i], v[i] = ref.adagrad(p[i], g, v[i], k + 1, lr=rate(k), **options)
    return p


@pytest.mark.parametrize("dtype, tol", [("float32", 2e-5), ("float64", 1e-12)])
def test_meaning(dtype, tol, isa):
    start, gradients = values()
    for options in SGDS:
        params = leaves(start, dtype)
        near(train(SGD(params, 9.0, **options), params, gradients), mean_sgd(start, gradients, **options), tol)
    for kind, options in itertools.product((Adam, AdamW), ADAMS):
        params = leaves(start, dtype)
        near(train(kind(params, 9.0, **options), params, gradients), mean_adam(start, gradients, decoupled=kind is AdamW, **options), tol)
    for kind, mean, all_options in ((RMSprop, mean_rmsprop, RMSPROPS), (Adagrad, mean_adagrad, ADAGRADS)):
        for options in all_options:
            params = leaves(start, dtype)
            near(train(kind(params, 9.0, **options), params, gradients), mean(start, gradients, **options), tol * loose(options))


@pytest.mark.parametrize("kind, all_options", [("SGD", SGDS), ("Adam", ADAMS), ("AdamW", ADAMS), ("RMSprop", RMSPROPS), ("Adagrad", ADAGRADS)])
def test_pytorch(torch, kind, all_options):
    """float32 results within a few roundings of PyTorch's after 20 steps."""
    start, gradients = values()
    for options in all_options:
        params = leaves(start)
        train(getattr(fastnn.optim, kind)(params, 9.0, **options), params, gradients)
        theirs = [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in start]
        optimizer = getattr(torch.optim, kind)(theirs, 9.0, **options)
        for k, grads in enumerate(gradients):
            for p, g in zip(theirs, grads):
                p.grad = torch.tensor(g, dtype=torch.float32)
            optimizer.param_groups[0]["lr"] = rate(k)
            optimizer.step()
        near(params, [p.detach().numpy() for p in theirs], 4e-6 * loose(options))


def test_threads_give_the_same_bits(isa):
    start, gradients = values(1, ((3, 4), (10007,), (65,), (1,), (20001,)))
    for make in (lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True), lambda p: AdamW(p, 0.1, amsgrad=True),
                 lambda p: RMSprop(p, 0.1, momentum=0.9, centered=True, weight_decay=0.1), lambda p: Adagrad(p, 0.1, lr_decay=0.1)):
        results = []
        for threads in (1, 2, 3, 7):
            with machine(isa, threads):
                params = leaves(start)
                results.append(tuple(p.detach() for p in train(make(params), params, gradients[:3])))
        for other in results[1:]:
            same_bits(results[0], other)


# ---- groups ----------------------------------------------------------------------------------------------------------

def test_parameter_groups(torch):
    start, gradients = values(2, ((3,), (4,), (2, 2)))

    def groups(p):
        return [{"params": p[:1]}, {"params": p[1], "lr": 0.5, "betas": (0.5, 0.6), "weight_decay": 0.1}]
    ours, theirs = leaves(start), [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in start]
    a, b = Adam(groups(ours), lr=0.1), torch.optim.Adam(groups(theirs), lr=0.1)
    for k, grads in enumerate(gradients):
        if k == 5:
            for o, p in ((a, ours), (b, theirs)):
                o.add_param_group({"params": [p[2]], "amsgrad": True})
        for p, q, g in zip(ours, theirs, grads):
            skip = k % 3 == 1 and p.shape == (4,)
            p.grad, q.grad = None if skip else fastnn.tensor(np.float32(g)), None if skip else torch.tensor(np.float32(g))
        for o in (a, b):
            o.param_groups[1]["lr"] = 0.5 / (k + 1)
            o.step()
    near(ours, [p.detach().numpy() for p in theirs], 1e-6)
    assert [float(a.state[p]["step"]) for p in ours] == [float(b.state[p]["step"]) for p in theirs] == [20, 13, 15]
    strip = {"params"}
    assert [{k: v for k, v in g.items() if k not in strip} for g in a.param_groups] == \
           [{k: v for k, v in g.items() if k not in strip} for g in b.param_groups]
    assert [[p is q for p, q in zip(g["params"], r)] for g, r in zip(a.param_groups, [[ours[0]], [ours[1]], [ours[2]]])] == [[True]] * 3


def test_age():
    """Adam's corrections at ages at which they hardly matter, and no longer do."""
    for b1, b2 in ((0.9, 0.999), (0.5, 0.5), (0.0, 0.99)):
        for age in (0, 1, 30, 37, 38, 75, 76, 77, 378, 379, 380, 381, 3799, 3801, 37_999, 38_001, 10**6):
            p = leaves([[1.0]], "float64")
            optimizer = fastnn.optim.Adam(p, 0.5, betas=(b1, b2), eps=0)
            optimizer.load_state_dict({"state": {0: {"step": age, "exp_avg": np.zeros(1), "exp_avg_sq": np.zeros(1)}},
                                       "param_groups": optimizer.state_dict()["param_groups"]})
            give(p, [[2.0]])
            optimizer.step()
            m, v = (1 - b1) * 2 / (1 - b1 ** (age + 1)), (1 - b2) * 4 / (1 - b2 ** (age + 1))
            assert abs(p[0].item() - (1 - 0.5 * m / v ** 0.5)) < 4e-16 * (1 + abs(m / v ** 0.5)), (b1, b2, age)


def test_parameters_without_gradient_are_skipped():
    params = leaves([np.ones(3), np.ones(4)])
    for optimizer in (SGD(params, 0.1, momentum=0.9, weight_decay=1.0), Adam(params, 0.1, weight_decay=1.0)):
        params[0].grad, params[1].grad = fastnn.ones(3), None
        before = params[1]._version
        optimizer.step()
        assert params[1].tolist() == [1] * 4 and params[1]._version == before
        assert set(optimizer.state_dict()["state"]) == {0}
    frozen = fastnn.ones(2)
    optimizer = Adam([*params, frozen], 0.1)
    optimizer.zero_grad()
    optimizer.step()
    assert frozen not in optimizer.state and optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("kind", [Adam, AdamW, Adagrad, RMSprop, SGD])
def test_each_parameter_has_its_own_age(kind):
    """Parameters of one group that get their gradients at different times step as each would alone."""
    options = dict(lr=0.1, **{SGD: dict(momentum=0.9, dampening=0.5), Adagrad: dict(lr_decay=0.5)}.get(kind, {}))
    start, gradients = values(shapes=((5,), (70,), (9,), (5,)))
    gradients = [[g if k >= i * (3 - i) else None for i, g in enumerate(grads)] for k, grads in enumerate(gradients)]
    together, alone = leaves(start), leaves(start)
    train(kind(together, **options), together, gradients, False)
    for i, p in enumerate(alone):
        train(kind([p], **options), [p], [[grads[i]] for grads in gradients], False)
    same_bits(together, alone)


def test_names_and_tied_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    optimizer = SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["0.weight", "0.bias", "1.bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["0.weight", "0.bias", "1.bias"]
    before = model[0].weight.detach().clone()
    model(fastnn.ones(1, 3)).sum().backward()
    optimizer.step()
    near([model[1].weight], [(before - 0.1 * model[0].weight.grad).numpy()], 1e-6)


def test_a_parameter_named_twice(torch):
    start, gradients = values(3, ((5,),))
    p, q = leaves(start)[0], torch.tensor(start[0], dtype=torch.float32, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        b = torch.optim.Adam([q, q], 0.1)
    with pytest.warns(UserWarning, match="duplicate"):
        a = Adam([p, p], 0.1)
    for g, in gradients:
        p.grad, q.grad = fastnn.tensor(np.float32(g)), torch.tensor(np.float32(g))
        a.step()
        b.step()
    near([p], [q.detach().numpy()], 1e-6)


W = fastnn.ones(2, requires_grad=True)
ERRORS = [
    (lambda: SGD(W, 0.1), TypeError, "iterable of Tensors or dicts, but got Tensor"), (lambda: SGD([], 0.1), ValueError, "empty parameter list"),
    (lambda: SGD([{"params": {W}}], 0.1), TypeError, "ordered collections"), (lambda: SGD([1], 0.1), TypeError, "one of the params is int"),
    (lambda: SGD([W * 2], 0.1), ValueError, "non-leaf"), (lambda: SGD([W], -1), ValueError, "Invalid learning rate: -1"),
    (lambda: SGD([W], 0.1, momentum=-1), ValueError, "Invalid momentum value: -1"),
    (lambda: SGD([W], 0.1, weight_decay=-1), ValueError, "Invalid weight_decay"),
    (lambda: SGD([W], 0.1, nesterov=True), ValueError, "Nesterov momentum requires"),
    (lambda: SGD([W], 0.1, differentiable=True), NotImplementedError, "differe"),
    (lambda: SGD([W], 0.1, fused=True, foreach=True), RuntimeError, "cannot be `True` together"), (lambda: SGD([W], fastnn.ones(2)), ValueError, "1-element"),
    (lambda: SGD([{"params": [W]}, {"params": [W]}], 0.1), ValueError, "more than one parameter group"),
    (lambda: SGD([("w", W), fastnn.ones(1, requires_grad=True)], 0.1), ValueError, "names are missing"),
    (lambda: SGD([W], 0.1).add_param_group([W]), TypeError, "must be a dict"), (lambda: Adam([W], 0.1, eps=-1), ValueError, "Invalid epsilon value: -1"),
    (lambda: Adam([W], 0.1, betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
    (lambda: Adam([W], 0.1, betas=(0.9, -0.1)), ValueError, "index 1"), (lambda: AdamW([W], float("nan")), ValueError, "Invalid learning rate: nan"),
    (lambda: RMSprop([W], alpha=-0.1), ValueError, "Invalid alpha value: -0.1"), (lambda: RMSprop([W], momentum=-1), ValueError, "Invalid momentum value: -1"),
    (lambda: RMSprop([W], eps=-1), ValueError, "Invalid epsilon value"), (lambda: RMSprop([W], -1), ValueError, "Invalid learning rate"),
    (lambda: RMSprop([W], differentiable=True), NotImplementedError, "differe"), (lambda: Adagrad([W], lr_decay=-1), ValueError, "Invalid lr_decay value: -1"),
    (lambda: Adagrad([W], initial_accumulator_value=-1), ValueError, "Invalid initial_accumulator_value value: -1"),
    (lambda: Adagrad([W], fused=True, foreach=True), RuntimeError, "cannot be `True` together"),
    (lambda: Adam([W], weight_decay=-1), ValueError, "Invalid weight_decay"), (lambda: Optimizer([W], {}).step(), NotImplementedError, "Optimizer"),
    (lambda: SGD([W], 0.1).load_state_dict({"state": {}, "param_groups": []}), ValueError, "different number of parameter groups"),
    (lambda: SGD([W], 0.1).load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]}), ValueError, "match the size"),
    (lambda: Adam([W]).load_state_dict({"state": {0: {"step": 1, "exp_avg": np.ones(3)}}, "param_groups": [{"params": [0]}]}), RuntimeError, r"\(3,\).*\(2,\)"),
]


@pytest.mark.parametrize("call, error, message", ERRORS)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_repr_as_pytorch(torch):
    for kind, options in (("SGD", dict(lr=0.1, momentum=0.9)), ("AdamW", dict(lr=1e-3)), ("RMSprop", {}), ("Adagrad", {})):
        ours = getattr(fastnn.optim, kind)([{"params": [fastnn.ones(1, requires_grad=True)]}, {"params": [fastnn.ones(1, requires_grad=True)], "lr": 2}],
                                           **options)
        theirs = getattr(torch.optim, kind)([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)], "lr": 2}], **options)
        assert repr(ours) == repr(theirs)


# ---- what happens to parameters and gradients in between -------------------------------------------------------------

@kinds
def test_any_strides(kind):
    """Parameters and gradients in any layout take the steps that contiguous ones take."""
    start, gradients = values(8, ((4, 6),))
    plain = leaves(start)
    want = train(KINDS[kind](fastnn.optim, plain), plain, gradients, rates=False)[0].detach()

    def transposed(a):
        return fastnn.tensor(np.float32(a).T.copy()).t()

    def gappy(a):
        t = fastnn.full((4, 13), -1.0)[:, 1:13:2]
        t.copy_(fastnn.tensor(np.float32(a)))
        return t
    for of_p, of_g in itertools.product((transposed, gappy, lambda a: fastnn.tensor(np.float32(a))), repeat=2):
        p = of_p(start[0]).detach().requires_grad_()
        strides = p.stride()
        optimizer = KINDS[kind](fastnn.optim, [p])
        for g, in gradients:
            p.grad = of_g(g)
            optimizer.step()
        assert p.stride() == strides
        same_bits(p.detach().contiguous(), want)
        assert p._base is None or (p._base[:, ::2] == -1).all()


@kinds
def test_other_type_memory_and_shape(kind):
    start, gradients = values(9, ((3, 4),))
    p, = params = leaves(start)
    optimizer = KINDS[kind](fastnn.optim, params)
    train(optimizer, params, gradients[:5], rates=False)
    double = copy.deepcopy(params)
    twin = KINDS[kind](fastnn.optim, double)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    p.data = p.data.clone()
    p.data = p.data.double()
    double[0].data = double[0].data.double()
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for q, o in ((p, optimizer), (double[0], twin)):
        for g, in gradients[5:]:
            q.grad = fastnn.tensor(g)
            o.step()
    same_bits(p.detach(), double[0].detach())
    assert all(s.dtype == fastnn.float64 for k, s in optimizer.state[p].items())
    p.data = fastnn.ones(2)
    with pytest.raises(RuntimeError, match=r"\(3, 4\).*\(2,\)"):
        optimizer.step()


def test_mixed_types_in_one_group():
    start, gradients = values(10, ((3,), (5,), (2, 2)))
    mixed = [*leaves(start[:1]), *leaves(start[1:2], "float64"), *leaves(start[2:])]
    train(Adam(mixed, 9.0), mixed, gradients)
    near(mixed, mean_adam(start, gradients, False), 1e-5)
    near(mixed[1:2], mean_adam(start, gradients, False)[1:2], 1e-12)


def test_versions_move_and_read_only_memory_is_refused():
    p = fastnn.ones(3, requires_grad=True)
    loss = (p * p).sum()
    p.grad = fastnn.ones(3)
    SGD([p], 0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    a = np.ones(3, np.float32)
    a.flags.writeable = False
    q = fastnn.from_numpy(a).requires_grad_()
    q.grad = fastnn.ones(3)
    with pytest.raises(ValueError, match="read-only"):
        SGD([q], 0.1).step()


def test_learning_rate_as_a_tensor():
    lr, p = fastnn.tensor(0.5), fastnn.zeros(2, requires_grad=True)
    p.grad = fastnn.ones(2)
    optimizer = SGD([p], lr)
    optimizer.step()
    lr.fill_(1.0)
    optimizer.step()
    assert p.tolist() == [-1.5, -1.5]


def test_momentum_and_amsgrad_turned_on_later(torch):
    start, gradients = values(11, ((3,),))
    for kind, key, value in (("SGD", "momentum", 0.9), ("Adam", "amsgrad", True)):
        ours, theirs = leaves(start), [torch.tensor(start[0], dtype=torch.float32, requires_grad=True)]
        a, b = getattr(fastnn.optim, kind)(ours, 0.1), getattr(torch.optim, kind)(theirs, 0.1)
        for k, (g,) in enumerate(gradients):
            ours[0].grad, theirs[0].grad = fastnn.tensor(np.float32(g)), torch.tensor(np.float32(g))
            if k == 4:
                a.param_groups[0][key] = b.param_groups[0][key] = value
                if key == "amsgrad":
                    b.state[theirs[0]]["max_exp_avg_sq"] = torch.zeros(3)
            a.step()
            b.step()
        near(ours, [theirs[0].detach().numpy()], 1e-6)


def test_closure_and_zero_grad():
    p = fastnn.tensor([4.0], requires_grad=True)
    optimizer = SGD([p], 0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss
    with fastnn.no_grad():
        assert optimizer.step(closure).item() == 16 and p.item() == 2
    held = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is held and held.item() == 0
    optimizer.zero_grad()
    assert p.grad is None
    assert optimizer.step() is None and p.item() == 2


def test_roots_are_rounded_to_nearest(isa):
    """Zeros, numbers of any size and their neighbours in a vector: the root of v = g^2 has the bits that NumPy gives it."""
    rng = np.random.default_rng(0)
    g = np.exp2(rng.uniform(-62, 63, 1 << 18)).astype(np.float32)
    g[rng.integers(0, g.size, 999)] = 0
    g[:1 << 17] = np.sort(g[:1 << 17])
    p = nn.Parameter(fastnn.zeros(g.size))
    p.grad = fastnn.from_numpy(g)
    Adagrad([p], lr=1, eps=0).step()
    with np.errstate(invalid="ignore"):
        same_bits(p.detach() != p.detach(), g == 0)
        same_bits(p.detach()[fastnn.from_numpy(g != 0)], -(g / np.sqrt(g * g))[g != 0])


def test_not_finite_gradients_stay_with_their_element():
    for make in (lambda p: SGD(p, 0.1, momentum=0.9), lambda p: Adam(p, 0.1), lambda p: Adam(p, 0.1, amsgrad=True),
                 lambda p: RMSprop(p, 0.1, centered=True), lambda p: Adagrad(p, 0.1)):
        p = fastnn.ones(40, requires_grad=True)
        optimizer = make([p])
        for bad in (float("nan"), float("inf")):
            g = fastnn.ones(40)
            g[7] = bad
            p.grad = g
            optimizer.step()
        p.grad = fastnn.ones(40)
        optimizer.step()
        assert np.isnan(p.tolist()[7]) and np.isfinite(np.delete(p.detach().numpy(), 7)).all()


def test_a_constant_gradient_has_no_deviation_and_no_nan():
    """Where rounding takes v - c^2 below 0, centered RMSprop goes by eps; PyTorch's parameters become NaN."""
    params = leaves([np.linspace(0.1, 3, 300)])
    optimizer = RMSprop(params, 1e-9, alpha=0.5, centered=True)
    for _ in range(60):
        give(params, [np.linspace(0.1, 3, 300)])
        optimizer.step()
    assert np.isfinite(params[0].detach().numpy()).all()


class Signed(Optimizer):
    """Computes with tensors, in a step of its own."""

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].setdefault("count", fastnn.zeros(1)).add_(1)
                p.data.sub_(group["lr"] * p.grad.sign())


def test_a_step_of_ones_own():
    p = fastnn.ones(3, requires_grad=True)
    p.grad = fastnn.tensor([1.0, -2.0, 0.0])
    a = Signed([p], {"lr": 0.5})
    a.step()
    assert p.tolist() == [0.5, 1.5, 1.0]
    b = Signed([p], {"lr": 0.1})
    b.load_state_dict(a.state_dict())
    b = pickle.loads(pickle.dumps(copy.deepcopy(b)))
    assert b.param_groups[0]["lr"] == 0.5 and b.state[b.param_groups[0]["params"][0]]["count"].item() == 1
