"""What a captured step may not do, or be given: it is refused at the user's line, and everything stays usable."""
import numpy as np
import pytest

import fastnn
from fastnn import CaptureError, optim
from fastnn.nn import functional as F
from steps import bits


def test_carried_state_rebound_is_refused():
    box = {"h": fastnn.zeros(4)}

    def step(x):
        box["h"] = (box["h"] + x).detach()
        return box["h"].sum()
    f = fastnn.capture(step)
    with pytest.raises(CaptureError, match="add.*first call.*second"):
        for i in range(3):
            f(fastnn.ones(4))


def test_a_block_that_outgrows_its_first_recording_overwrites_nothing():
    kept, sizes = [], iter((4, 50000))

    def step(x):
        kept[:] = x + 1, fastnn.full((next(sizes),), 7.0), x + 2
        return x.sum()
    f = fastnn.capture(step)
    f(fastnn.zeros(3))
    with pytest.raises(CaptureError, match="first call"):
        f(fastnn.zeros(3))
    assert kept[0].tolist() == [1] * 3 and bool((kept[1] == 7).all()) and kept[2].tolist() == [2] * 3


def test_annealed_python_number_is_refused_with_both_values():
    box = {"k": 0.5}

    def step(x):
        box["k"] *= 0.5
        return (x * box["k"]).sum()
    f = fastnn.capture(step)
    f(fastnn.ones(3))
    with pytest.raises(CaptureError, match=r"mul.*0\.25.*0\.125"):
        f(fastnn.ones(3))


def test_annealed_number_is_left_eager_if_not_strict(caplog):
    box = {"k": 1.0}

    def step(x):
        box["k"] *= 0.5
        return (x * box["k"]).sum()
    f = fastnn.capture(step, strict=False)
    assert [f(fastnn.ones(2)).item() for _ in range(5)] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert len([r for r in caplog.records if "mul" in r.getMessage()]) == 1
    assert len(f.info()["eager"]) == 1


READS = {
    "item": lambda x: x.sum().item(), "numpy": lambda x: x.numpy(), "array": lambda x: np.asarray(x), "tolist": lambda x: x.tolist(),
    "repr": lambda x: repr(x), "print": lambda x: f"{x}", "branch": lambda x: 1 if x.sum() > 0 else 2, "float": lambda x: float(x.sum()),
    "tensor": lambda x: x + fastnn.tensor([1.0, 2.0]), "from_numpy": lambda x: x + fastnn.from_numpy(np.ones(2, np.float32)),
    "nonzero": lambda x: x.nonzero(), "mask": lambda x: x[x > 0], "dlpack": lambda x: x.__dlpack__(), "seed": lambda x: fastnn.manual_seed(1),
    "unique shape": lambda x: fastnn.masked_select(x, x > 0), "data_ptr": lambda x: x.data_ptr(), "contains": lambda x: 1.0 in x,
}


@pytest.mark.parametrize("name", READS)
def test_reading_on_the_host_is_refused(name):
    here = []

    def step(x):
        here.append(1)
        READS[name](x)
        here.append(2)
        return x.sum()
    x = fastnn.ones(2)
    with pytest.raises(CaptureError) as caught:
        fastnn.capture(step)(x)
    assert here == [1]
    assert any(entry.name == "step" for entry in caught.traceback)
    loose = fastnn.capture(step, strict=False)
    assert [loose(x).item() for _ in range(3)] == [2.0] * 3
    assert loose.info()["eager"]


def test_writing_to_an_input_is_refused():
    f = fastnn.capture(lambda x: x.add_(1))
    x = fastnn.zeros(3)
    with pytest.raises(CaptureError, match="input"):
        f(x)
    assert x.tolist() == [0, 0, 0]


def test_nested_capture_is_refused():
    inner = fastnn.capture(lambda x: x * 2)
    outer = fastnn.capture(lambda x: inner(x) + 1)
    with pytest.raises(CaptureError):
        outer(fastnn.ones(2))
    assert inner(fastnn.ones(2)).tolist() == [2, 2]


def test_inputs_that_require_grad_are_refused():
    f = fastnn.capture(lambda x: x.sum())
    with pytest.raises(CaptureError, match="requires grad"):
        f(fastnn.ones(2, requires_grad=True))


def test_unhashable_arguments_are_refused():
    with pytest.raises(TypeError, match="ndarray"):
        fastnn.capture(lambda x: x)(np.ones(2))


def test_bad_capture_arguments():
    with pytest.raises(TypeError):
        fastnn.capture(3)
    with pytest.raises(ValueError):
        fastnn.capture(lambda: None, limit=0)


def test_an_exception_in_the_step_leaves_everything_usable():
    calls = []

    def step(x):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("user")
        return x * 2
    f = fastnn.capture(step)
    f(fastnn.ones(1))
    with pytest.raises(KeyError):
        f(fastnn.ones(1))
    for _ in range(4):
        assert f(fastnn.ones(1)).item() == 2
    assert fastnn.ones(2).sum().item() == 2


OUTSIDE = {
    "class": (lambda x, k: F.cross_entropy(x, k[:, 0], ignore_index=-3), (0, 4, -3), (5, -1), IndexError,
              r"Target {0} is out of bounds.*holds class {0} at flat index 2"),
    "embedding": (lambda x, k: F.embedding(k, x), (0, 3), (4, -1), IndexError, "index {0} is out of bounds for dimension 0 with size 4"),
    "index": (lambda x, k: x[k[:, 0]], (3, -4), (4, -5), IndexError, "index {0} is out of bounds for dimension 0 with size 4"),
    "parts of one tensor": (lambda x, k: x[k[:, 1]] + x[k[:, 0]], (3, -4), (4, -5), IndexError, "index {0} is out of bounds for dimension 0 with size 4"),
    "gather": (lambda x, k: x.gather(1, k), (0, 4), (5, -1), RuntimeError, "gather.*index {0} is out of bounds for dimension 1 with size 5"),
    "one tensor for two": (lambda x, k: x.gather(1, k) + x.gather(0, k), (0, 3), (4, -1), RuntimeError, "index {0} is out of bounds for dimension [01] with"),
    "index_select": (lambda x, k: x.index_select(1, k[:, 0]), (0, 4), (5, -1), (IndexError, RuntimeError), "{0}"),
}


@pytest.mark.parametrize("f, good, bad, error, words", OUTSIDE.values(), ids=OUTSIDE)
def test_numbers_out_of_range_are_seen_before_a_replay(f, good, bad, error, words):
    """The step does not begin: parameters, random state and the program stay."""
    weight, outside = fastnn.randn(4, 5, requires_grad=True), fastnn.zeros(4, 2).long()
    opt = optim.SGD([weight], 0.1, momentum=0.9)

    def step(k):
        opt.zero_grad()
        F.dropout(f(weight, k), 0.5).sum().backward()
        opt.step()
    for numbers in (None, outside):                          # an argument; a tensor from outside that changes in place
        captured = fastnn.capture(step if numbers is None else lambda: step(outside))

        def call(value):
            k = fastnn.zeros(4, 2).long() if numbers is None else outside
            k.zero_()
            k[2, 0] = value
            return captured(k) if numbers is None else captured()
        for value in (0, *good, *good):
            call(value)
        for value in bad:
            before, state, replays = weight.detach().clone(), fastnn.default_generator.get_state(), captured.replays
            with pytest.raises(error, match=words.format(value)):
                call(value)
            assert bits(before) == bits(weight.detach()) and fastnn.default_generator.get_state() == state and captured.replays == replays
            call(good[0])
            assert captured.replays == replays + 1 and bits(before) != bits(weight.detach())


@pytest.mark.parametrize("f, dtype", [
    (F.cross_entropy, fastnn.uint8), (lambda x, k: F.nll_loss(x, k), fastnn.uint8), (lambda x, k: F.embedding(k, x), fastnn.int32),
    (lambda x, k: x[:, k], fastnn.int32), (lambda x, k: x.gather(1, k[:, None]), fastnn.int32),
    (lambda x, k: x.scatter(1, k[:, None], x), fastnn.int32)])
def test_numbers_of_a_narrow_type_are_seen_as_they_were_given(f, dtype):
    x = fastnn.randn(4, 4)
    captured = fastnn.capture(lambda k: f(x, k).sum())
    for value in (0, 3, 3):
        captured(fastnn.tensor([0, 0, value, 0]).to(dtype))
    with pytest.raises((IndexError, RuntimeError), match="4 is out of bounds"):
        captured(fastnn.tensor([0, 0, 4, 0]).to(dtype))
    assert captured.replays == 1
