"""Containers against lists, dicts and PyTorch's."""
from collections import OrderedDict

import pytest

import fastnn
from fastnn import nn


def test_sequential_is_a_list_of_modules():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    s = nn.Sequential(a, b)
    assert (len(s), s[0], s[-1], list(s)) == (2, a, b, [a, b])
    assert s.append(c) is s and s[2] is c
    assert isinstance(s[:2], nn.Sequential) and list(s[1:]) == [b, c]
    s.insert(1, c)
    assert list(s) == [a, c, b, c] and list(s._modules) == ["0", "1", "2", "3"]
    assert s.pop(1) is c and list(s) == [a, b, c]
    s[0] = c
    del s[-1]
    assert list(s) == [c, b]
    s.extend([a, a])
    del s[:2]
    assert list(s) == [a, a] and list(s._modules) == ["0", "1"]
    assert list(s + nn.Sequential(b)) == [a, a, b]
    assert list(nn.Sequential(a, b) * 2) == [a, b, a, b] == list(2 * nn.Sequential(a, b))
    s += nn.Sequential(b)
    s *= 2
    assert list(s) == [a, a, b] * 2
    x = fastnn.tensor([-1.0, 2.0])
    assert nn.Sequential()(x) is x and nn.Sequential(a, nn.Identity())(x).tolist() == [0, 2]


def test_sequential_of_names():
    s = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), act=nn.ReLU()))
    assert s.first is s[0] and list(s.state_dict()) == ["first.weight", "first.bias"]
    assert list(s[1:]._modules) == ["act"]


def test_module_list():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    m = nn.ModuleList([a, b])
    assert (len(m), m[1], m[-2], a in m, list(m)) == (2, b, a, True, [a, b])
    m.append(c).extend([a])
    m.insert(0, c)
    assert list(m) == [c, a, b, c, a] and m.pop(-1) is a
    m[1] = b
    assert isinstance(m[1:3], nn.ModuleList) and list(m[1:3]) == [b, b]
    m += [a]
    assert list(m + [b]) == [c, b, b, c, a, b]
    del m[0], m[1:]
    assert list(m) == [b] and list(m._modules) == ["0"]
    with pytest.raises(NotImplementedError):
        m(3)


def test_module_dict():
    a, b = nn.ReLU(), nn.Tanh()
    d = nn.ModuleDict({"x": a, "pop me": b})
    assert list(d) == list(d.keys()) == ["x", "pop me"] and "x" in d and len(d) == 2 and list(d.values()) == [a, b]
    assert d.pop("pop me") is b
    d.update([("y", b)])
    d.update(nn.ModuleDict({"z": a}))
    d["x"] = b
    assert dict(d.items()) == {"x": b, "y": b, "z": a} and d["z"] is a
    del d["x"]
    d.clear()
    assert len(d) == 0 and repr(d) == "ModuleDict()"


def test_repr(torch):
    def make(nn):
        return nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.ModuleList()),
                              nn.Linear(2, 2)])
    assert repr(make(nn)) == repr(make(torch.nn))


@pytest.mark.parametrize("act, error, words", [
    (lambda: nn.Sequential(nn.ReLU())[1], IndexError, "index 1 is out of range"),
    (lambda: nn.Sequential(3), TypeError, "not a Module subclass"),
    (lambda: nn.Sequential().insert(1, nn.ReLU()), IndexError, "out of range"),
    (lambda: nn.Sequential().insert(0, 3), AssertionError, "module should be of type"),
    (lambda: nn.Sequential() + 3, ValueError, "only objects of Sequential"),
    (lambda: nn.Sequential(nn.ReLU()) * 0, ValueError, "Non-positive"),
    (lambda: nn.Sequential(nn.ReLU()) * 1.5, TypeError, "unsupported operand"),
    (lambda: nn.ModuleList([nn.ReLU()])[-2], IndexError, "index -2 is out of range"),
    (lambda: nn.ModuleList(3), TypeError, "iterable"),
    (lambda: nn.ModuleDict([("a",)]), ValueError, "#0 has length 1"),
    (lambda: nn.ModuleDict(3), TypeError, "iterable of key/value pairs"),
    (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), KeyError, "contain"),
    (lambda: nn.ModuleDict({"keys": nn.ReLU()}), KeyError, "already exists"),
])
def test_refusals(act, error, words):
    with pytest.raises(error, match=words):
        act()
