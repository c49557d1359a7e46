"""nn.Module: registration, walking, state, hooks, modes, printing; against PyTorch's where it is installed."""
import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import fastnn
from fastnn import nn


class Block(nn.Module):
    def __init__(self, n=3):
        super().__init__()
        self.lin = nn.Linear(n, n)
        self.register_buffer("mean", fastnn.zeros(n))
        self.register_buffer("scratch", fastnn.ones(1), persistent=False)
        self.scale = nn.Parameter(fastnn.ones(n))
        self.factor = 2.0

    def forward(self, x):
        return self.lin(x) * self.scale * self.factor + self.mean


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = Block()
        self.b = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU())
        self.again = self.a.lin
        self.none = None

    def forward(self, x):
        return self.b(self.a(x))


def torch_twin(torch):
    """Block and Net written for torch."""
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = torch.nn.Linear(3, 3)
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("scratch", torch.ones(1), persistent=False)
            self.scale = torch.nn.Parameter(torch.ones(3))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = Block()
            self.b = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.ReLU())
            self.again = self.a.lin
            self.none = None
    return Net()


def test_names_are_those_of_pytorch(torch):
    ours, theirs = Net(), torch_twin(torch)
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(ours, walk)()] == [n for n, _ in getattr(theirs, walk)()], walk
    for option in ({"recurse": False}, {"prefix": "p"}, {"remove_duplicate": False}):
        assert [n for n, _ in ours.named_parameters(**option)] == [n for n, _ in theirs.named_parameters(**option)]
    every = {"remove_duplicate": False}
    assert [n for n, _ in ours.named_modules(**every)] == [n for n, _ in theirs.named_modules(**every)]
    assert list(ours.state_dict(prefix="x.")) == list(theirs.state_dict(prefix="x."))
    assert repr(ours) == repr(theirs)
    assert {"a", "b", "again", "none"} <= set(dir(ours)) and "0" not in dir(ours.b)


def test_counts():
    net = Net()
    assert [len(list(walk())) for walk in (net.parameters, net.buffers, net.modules, net.children)] == [4, 2, 6, 3]


def test_attributes():
    m = Block()
    p = nn.Parameter(fastnn.zeros(2))
    m.mean = p                                               # a parameter takes the name of a buffer
    assert m.mean is p and list(m._buffers) == ["scratch"] and "mean" in dict(m.named_parameters())
    m.scale = None
    assert m.scale is None and "scale" not in dict(m.named_parameters())
    m.scale = nn.ReLU()                                      # a module takes the name of a parameter
    assert isinstance(m.scale, nn.ReLU) and "scale" not in m._parameters
    m.factor = 3
    assert m.factor == 3
    del m.lin, m.scratch, m.factor
    for name in ("lin", "scratch", "factor"):
        with pytest.raises(AttributeError, match=name):
            getattr(m, name)
    m.plain = fastnn.zeros(1)                                # a tensor alone is no buffer
    assert "plain" not in m._buffers
    m.plain = nn.Parameter(fastnn.zeros(1))
    assert "plain" not in m.__dict__ and m.plain is m._parameters["plain"]


@pytest.mark.parametrize("act, error, words", [
    (lambda m: setattr(m, "scale", fastnn.zeros(3)), TypeError, "as parameter 'scale'"),
    (lambda m: setattr(m, "lin", 3), TypeError, "as child module 'lin'"),
    (lambda m: setattr(m, "mean", "x"), TypeError, "as buffer 'mean'"),
    (lambda m: m.register_parameter("a.b", None), KeyError, "contain"),
    (lambda m: m.register_parameter("", None), KeyError, "empty string"),
    (lambda m: m.register_parameter(3, None), TypeError, "should be a string"),
    (lambda m: m.register_parameter("forward", None), KeyError, "already exists"),
    (lambda m: m.register_parameter("q", fastnn.zeros(2)), TypeError, "Parameter or None required"),
    (lambda m: m.register_buffer("lin", None), KeyError, "already exists"),
    (lambda m: m.register_buffer("q", 3), TypeError, "Tensor or None required"),
    (lambda m: m.add_module("q", 3), TypeError, "not a Module subclass"),
    (lambda m: m.train("yes"), ValueError, "boolean"),
    (lambda m: m.get_submodule("lin.weight"), AttributeError, "not an nn.Module"),
    (lambda m: m.get_submodule("nothing"), AttributeError, "no attribute `nothing`"),
    (lambda m: m.get_parameter("lin"), AttributeError, "not an nn.Parameter"),
    (lambda m: m.get_parameter("lin.bias2"), AttributeError, "no attribute `bias2`"),
    (lambda m: m.get_buffer("scale"), AttributeError, "not a buffer"),
    (lambda m: m.load_state_dict(3), TypeError, "dict-like"),
    (lambda m: m.to(fastnn.int64), TypeError, "floating point"),
    (lambda m: m.half(), NotImplementedError, "float16"),
    (lambda m: m.bfloat16(), NotImplementedError, "bfloat16"),
    (lambda m: m.cuda(), NotImplementedError, "cuda"),
    (lambda m: m.register_backward_hook(print), NotImplementedError, "register_full_backward_hook"),
    (lambda m: m.register_forward_hook(3), TypeError, "callable"),
    (lambda m: nn.Module()(3), NotImplementedError, "forward"),
    (lambda m: nn.Conv9d, NotImplementedError, "Conv9d: not supported"),
])
def test_refusals(act, error, words):
    with pytest.raises(error, match=words):
        act(Block())


def test_before_init():
    class Early(nn.Module):
        def __init__(self, what):
            self.x = what
    for what in (nn.Parameter(fastnn.zeros(1)), nn.ReLU()):
        with pytest.raises(AttributeError, match="before Module.__init__"):
            Early(what)


def test_non_leaf_parameter_is_refused():
    p = nn.Parameter(fastnn.ones(2))
    q = nn.Parameter(fastnn.ones(2))
    q.detach_()
    with pytest.raises(TypeError):
        Block().register_parameter("q", p * 2)


def test_get_by_path():
    net = Net()
    assert net.get_submodule("a.lin") is net.a.lin and net.get_submodule("") is net
    assert net.get_parameter("a.lin.weight") is net.a.lin.weight and net.get_buffer("a.mean") is net.a.mean


def test_modes_and_apply():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.a.train()
    assert net.a.lin.training and not net.training
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Block", "Linear", "ReLU", "Sequential", "Linear", "Net"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.b.requires_grad_()
    assert [p.requires_grad for p in net.parameters()] == [False, False, False, True]


def test_types_keep_identity_and_ties():
    net = Net()
    before = list(net.parameters())
    net.register_buffer("count", fastnn.zeros(1, dtype=fastnn.int64))
    net(fastnn.ones(2, 3)).sum().backward()
    for change, want in ((net.double, fastnn.float64), (net.float, fastnn.float32),
                         (lambda: net.to(fastnn.float64), fastnn.float64),
                         (lambda: net.to("cpu", fastnn.float32), fastnn.float32),
                         (lambda: net.type(fastnn.float64), fastnn.float64)):
        assert change() is net
        for p, q in zip(net.parameters(), before):
            assert p is q and p.dtype == want and (p.grad is None or p.grad.dtype == want)
        assert net.again.weight is net.a.lin.weight and net.a.mean.dtype == want
        if change is not net.type:
            assert net.count.dtype == fastnn.int64 or want is fastnn.float64
    assert net.double().to("cpu").a.scale.dtype == fastnn.float64
    assert net.to(fastnn.zeros(1)).a.scale.dtype == fastnn.float32


def test_zero_grad():
    net = Net()
    net(fastnn.ones(2, 3)).sum().backward()
    grads = [p.grad for p in net.parameters()]
    assert all(g is not None for g in grads)
    net.zero_grad(set_to_none=False)
    assert all(p.grad is g and not g.numpy().any() for p, g in zip(net.parameters(), grads))
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


# ---- state -----------------------------------------------------------------------------------------------------------

def test_state_dict_shares_memory_and_is_detached():
    net = Block()
    state = net.state_dict()
    assert isinstance(state, OrderedDict) and list(state) == ["scale", "mean", "lin.weight", "lin.bias"]
    assert not state["lin.weight"].requires_grad and net.state_dict(keep_vars=True)["lin.weight"] is net.lin.weight
    state["scale"].fill_(7)
    assert net.scale.tolist() == [7, 7, 7]


def test_load_state_dict_roundtrip():
    a, b = Net(), Net()
    kept = b.a.lin.weight
    result = b.load_state_dict(a.state_dict())
    assert str(result) == "<All keys matched successfully>" and tuple(result) == ([], [])
    x = fastnn.rand(4, 3)
    assert b.a.lin.weight is kept and np.array_equal(a(x).detach().numpy(), b(x).detach().numpy())
    given = {k: v.clone() for k, v in a.state_dict().items()}
    b.load_state_dict(given, assign=True)
    assert b.a.mean is given["a.mean"] and isinstance(b.a.lin.bias, nn.Parameter) and b.a.lin.bias.requires_grad


def test_load_state_dict_messages(torch):
    bad = {"a.scale": [2], "a.lin.weight": [2, 2], "x.y": [1], "a.q": [1], "a.lin.weight.more": [1]}
    texts = []
    for net, zeros in ((Net(), fastnn.zeros), (torch_twin(torch), torch.zeros)):
        with pytest.raises(RuntimeError) as caught:
            net.load_state_dict({k: zeros(*v) for k, v in bad.items()})
        texts.append(str(caught.value))
    assert texts[0] == texts[1].replace("torch.", "fastnn.")


def test_load_state_dict_not_strict():
    net = Net()
    state = net.state_dict()
    del state["a.scale"]
    state["new"] = fastnn.zeros(1)
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["a.scale"], ["new"])
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "a.scale".*\n.*Unexpected key.*: "new"'):
        net.load_state_dict(state)
    with pytest.raises(RuntimeError, match='expected fastnn.Tensor'):
        net.load_state_dict({"a.scale": 3}, strict=False)


def test_extra_state():
    class Counter(nn.Module):
        n = 0

        def get_extra_state(self):
            return self.n

        def set_extra_state(self, state):
            self.n = state
    a, b = nn.Sequential(Counter()), nn.Sequential(Counter())
    a[0].n = 5
    b.load_state_dict(a.state_dict())
    assert b[0].n == 5 and list(a.state_dict()) == ["0._extra_state"]
    with pytest.raises(RuntimeError, match="Missing"):
        b.load_state_dict({})


def test_state_dict_hooks():
    seen = []
    a, b = Block(), Block()
    a.lin.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(prefix))
    a.register_state_dict_post_hook(lambda m, state, prefix, meta: state.update(mu=state.pop("mean")))
    b.register_load_state_dict_pre_hook(lambda m, state, prefix, *rest: state.update(mean=state.pop("mu")))
    b.register_load_state_dict_post_hook(lambda m, keys: seen.append(keys.missing_keys))
    state = a.state_dict()
    assert "mu" in state and "mean" not in state
    b.load_state_dict(state)
    assert seen == ["lin.", []]


# ---- hooks -----------------------------------------------------------------------------------------------------------

def test_forward_hooks():
    m, seen = nn.Linear(2, 2), []
    handles = [m.register_forward_pre_hook(lambda mod, args: seen.append("pre") or (args[0] * 2,)),
               m.register_forward_hook(lambda mod, args, out: seen.append("post") or out + 1),
               m.register_forward_pre_hook(lambda mod, args: seen.append("first"), prepend=True)]
    x = fastnn.ones(1, 2)
    want = m.forward(x * 2) + 1
    assert np.array_equal(m(x).detach().numpy(), want.detach().numpy()) and seen == ["first", "pre", "post"]
    for handle in handles:
        handle.remove()
    m(x)
    assert len(seen) == 3
    def zeroed(module, args, kwargs):
        return args, {"input": 0 * kwargs["input"]}
    with m.register_forward_pre_hook(zeroed, with_kwargs=True):
        assert np.array_equal(m(input=x).detach().numpy()[0], m.bias.detach().numpy())
    with m.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True):
        with pytest.raises(RuntimeError, match="pre-hook must return"):
            m(x)


def test_always_called_hook_sees_a_failure():
    m, seen = nn.Linear(2, 2), []
    m.register_forward_hook(lambda mod, args, out: seen.append(out), always_call=True)
    m.register_forward_hook(lambda mod, args, out: seen.append("not this"))
    with pytest.raises(RuntimeError):
        m(fastnn.ones(1, 3))
    assert seen == [None]


def test_capture_sees_changes():
    """Every structural change moves the guard: a captured step follows it."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    step = fastnn.capture(lambda x: net(x))
    x = fastnn.ones(3, 2)

    def both():
        """The captured step against the eager one, from the same random state."""
        for _ in range(4):
            state = fastnn.default_generator.get_state()
            eager = net(x).detach().numpy()
            fastnn.default_generator.set_state(state)
            np.testing.assert_array_equal(step(x).numpy(), eager)
    both()
    for change in (net.eval, net.train, lambda: net.__setitem__(0, nn.Linear(2, 2)),
                   lambda: setattr(net[0], "weight", nn.Parameter(fastnn.zeros(2, 2))),
                   lambda: setattr(net[0], "bias", None), lambda: net.append(nn.ReLU()), lambda: net.__delitem__(1),
                   lambda: net.register_forward_hook(lambda m, a, out: out * 2), lambda: net[0].double().float(),
                   lambda: net.insert(0, nn.Dropout(0.25)), lambda: setattr(net[0], "p", 0.75)):
        change()
        both()


# ---- copies and printing ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copier):
    net = Net()
    net.a.factor = 5.0
    new = copier(net)
    x = fastnn.rand(4, 3)
    assert np.array_equal(new(x).detach().numpy(), net(x).detach().numpy())
    assert new.again.weight is new.a.lin.weight and new.a.lin.weight is not net.a.lin.weight
    assert type(new.a.scale) is nn.Parameter and new.a.scale.requires_grad
    with fastnn.no_grad():
        new.a.scale.zero_()
    assert net.a.scale.tolist() == [1, 1, 1]


def test_shallow_copy_replaces_its_own():
    a = Block()
    b = copy.copy(a)
    assert b.lin is a.lin


def test_repr_with_extra_lines(torch):
    def make(lib):
        class Two(lib.Module):
            def __init__(self):
                super().__init__()
                self.inner = lib.Sequential(lib.ReLU())

            def extra_repr(self):
                return "a=1\nb=2"
        return lib.Sequential(Two(), lib.Identity(), lib.ModuleDict({"k": Two()}))
    assert repr(make(nn)) == repr(make(torch.nn))
