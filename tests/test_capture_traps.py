"""What a replay could get wrong: each trap of docs/design.md, silent ones first. Eager is the oracle, bit for bit."""
import copy
import gc
import threading

import numpy as np
import pytest

import fastnn
from fastnn import CaptureError, nn, optim
from fastnn.nn import functional as F
from steps import bits, both, data, net, trainer


def test_dropout_draws_anew_and_like_eager():
    f = both(trainer(dropout=0.5), lambda m, o: data(1) * 8)
    assert f.info()["replays"] >= 4


def test_random_state_lies_where_no_other_block_does():
    both(trainer(lambda p: optim.SGD(p, 0.1), dropout=0.5), lambda m, o: [data(1, rows=n, seed=i)[0] for i, n in enumerate((4, 4, 2, 4, 4, 2, 4, 2, 4))])


def test_changed_dropout_rate():
    def calls(model, opt):
        for i, args in enumerate(data(10)):
            if i == 6:
                model[2].p = 0.1
            yield args
    both(trainer(dropout=0.5), calls)


def test_random_state_after_a_replay_is_eagers():
    states = []
    for captured in (False, True):
        model, step, _ = trainer(dropout=0.5)()
        f = fastnn.capture(step) if captured else step
        for args in data(7):
            f(*args)
        states.append(fastnn.default_generator.get_state())
    assert states[0] == states[1]


def test_learning_rate_and_weight_decay_move():
    def calls(model, opt):
        for i, args in enumerate(data(9)):
            opt.param_groups[0]["lr"] = 0.1 / (1 + i)
            if i == 6:
                opt.param_groups[0]["weight_decay"] = 0.01
                opt.param_groups[0]["momentum"] = 0.5
            yield args
    f = both(trainer(), calls)
    assert f.info()["replays"] >= 5


def test_clipping():
    both(trainer(clip=0.1), lambda m, o: data(6))


@pytest.mark.parametrize("clear", ["zero_grad", "to_zero", "none", "never"])
def test_accumulation_from_none(clear):
    def make():
        model = net()

        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss
        return model, step, None

    def calls(model, _):
        for i, args in enumerate(data(14)):
            if i % 4 == 0:
                if clear == "zero_grad":
                    model.zero_grad()
                elif clear == "to_zero":
                    model.zero_grad(set_to_none=False)
                elif clear == "none":
                    for p in model.parameters():
                        p.grad = None
            yield args
    f = both(make, calls)
    assert f.info()["replays"] >= 3


def test_accumulate_then_apply_by_two_captured_functions():
    def run(wrap):
        model = net()
        opt = optim.Adam(model.parameters(), 1e-2)

        def accumulate(x, y):
            loss = F.cross_entropy(model(x), y) / 4
            loss.backward()
            return loss

        def apply():
            opt.step()
            opt.zero_grad()
        accumulate, apply = wrap(accumulate), wrap(apply)
        losses = []
        for i, args in enumerate(data(32)):
            losses.append(bits(accumulate(*args)))
            if i % 4 == 3:
                apply()
        return losses, [bits(p) for p in model.parameters()], accumulate
    eager, captured = run(lambda f: f), run(fastnn.capture)
    assert eager[:2] == captured[:2]
    assert captured[2].info()["replays"] > 4


def test_losses_kept_in_a_list_stay():
    model, step, _ = trainer()()
    f = fastnn.capture(step)
    losses = [f(*args) for args in data(8)]
    values = [loss.item() for loss in losses]
    assert len(set(values)) == 8
    assert all(loss.grad_fn is None and not loss.requires_grad for loss in losses)


def test_a_held_gradient_is_not_overwritten():
    model, step, _ = trainer()()
    f = fastnn.capture(step)
    kept = []
    for args in data(8):
        f(*args)
        g = model[0].weight.grad
        kept.append((g, bits(g)))
    assert all(bits(g) == b for g, b in kept)
    assert len({b for _, b in kept}) == 8


def test_a_numpy_view_of_a_gradient_is_not_overwritten():
    model, step, _ = trainer()()
    f = fastnn.capture(step)
    kept = []
    for args in data(7):
        f(*args)
        a = model[0].weight.grad.numpy()
        kept.append((a, a.tobytes()))
    assert all(a.tobytes() == b for a, b in kept)


def test_carried_state_written_in_place():
    def run(wrap):
        state = fastnn.zeros(4)
        w = fastnn.tensor([0.5, -1.0, 2.0, 0.1])

        def step(x):
            with fastnn.no_grad():
                state.copy_((state * w + x).tanh())
                return state.sum()
        f = wrap(step)
        return [bits(f(fastnn.full((4,), float(i)))) for i in range(6)], bits(state)
    assert run(lambda f: f) == run(fastnn.capture)


def test_carried_state_rebound_is_refused():
    box = {"h": fastnn.zeros(4)}

    def step(x):
        box["h"] = (box["h"] + x).detach()
        return box["h"].sum()
    f = fastnn.capture(step)
    with pytest.raises(CaptureError, match="add.*first call.*second"):
        for i in range(3):
            f(fastnn.ones(4))


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


def test_number_as_argument_is_part_of_the_key():
    f = fastnn.capture(lambda x, k: (x * k).sum())
    for _ in range(3):
        assert [f(fastnn.ones(2), k).item() for k in (1.0, 2.0, 3.0)] == [2.0, 4.0, 6.0]
    assert f.info()["replays"] == 3


def test_freezing_and_unfreezing():
    def calls(model, opt):
        for i, args in enumerate(data(16)):
            if i in (5, 10):
                model[0].requires_grad_(i == 10)
            yield args
    f = both(trainer(), calls)
    assert f.info()["replays"] >= 6


def test_training_flag():
    def make():
        model = net(dropout=0.5)

        def step(x, y):
            with fastnn.no_grad():
                return F.cross_entropy(model(x), y)
        return model, step, None

    def calls(model, _):
        for i, args in enumerate(data(12)):
            model.train(i % 2 == 0)
            yield args
    f = both(make, calls)
    assert f.info()["replays"] >= 8


def test_replaced_parameter_and_module():
    def calls(model, opt):
        for i, args in enumerate(data(12)):
            if i == 5:
                fastnn.manual_seed(7)
                model[2].weight = nn.Parameter(fastnn.randn(5, 16))
                opt.add_param_group({"params": [model[2].weight]})
            if i == 8:
                model[1] = nn.Tanh()
            yield args
    both(trainer(), calls)


def test_parameter_data_replaced_and_loaded():
    def calls(model, opt):
        saved = None
        for i, args in enumerate(data(14)):
            if i == 3:
                saved = copy.deepcopy(model.state_dict())
            if i == 6:
                model.load_state_dict(saved)
            if i == 9:
                model[0].weight.data = model[0].weight.data.clone() * 0.5
            yield args
    both(trainer(), calls)


def test_optimizer_state_loaded():
    def calls(model, opt):
        saved = None
        for i, args in enumerate(data(12)):
            if i == 4:
                saved = copy.deepcopy(opt.state_dict())
            if i == 8:
                opt.load_state_dict(saved)
            yield args
    both(trainer(lambda p: optim.Adam(p, 1e-2)), calls)


def test_parameters_changed_between_replays():
    def calls(model, opt):
        for i, args in enumerate(data(10)):
            if i == 6:
                with fastnn.no_grad():
                    for p in model.parameters():
                        p.mul_(0.5)
            if i == 8:
                model[0].weight.detach().numpy()[...] *= 2
            yield args
    both(trainer(), calls)


def test_shapes_are_keys_and_the_limit_holds():
    model, step, _ = trainer()()
    f = fastnn.capture(step, limit=3)
    for n in (4, 8, 12, 16, 4, 8) * 3:
        x, y = data(1, rows=n)[0]
        f(x, y)
    assert f.info()["keys"] <= 3


def test_layouts_are_keys():
    f = fastnn.capture(lambda x: (x * 2).sum(0))
    a = fastnn.arange(12).float().view(3, 4)
    for _ in range(4):
        assert f(a).tolist() == (a * 2).sum(0).tolist()
        assert f(a.t()).tolist() == (a.t() * 2).sum(0).tolist()
        assert f(a[:, ::2]).tolist() == (a[:, ::2] * 2).sum(0).tolist()
        assert f(a[:1].expand(3, 4)).tolist() == (a[:1].expand(3, 4) * 2).sum(0).tolist()


def test_same_tensor_twice():
    f = fastnn.capture(lambda a, b: a * 2 + b)
    x = fastnn.ones(3)
    for _ in range(4):
        assert f(x, x).tolist() == [3, 3, 3]
    assert f(x, x * 5).tolist() == [7, 7, 7]


def test_threads_are_a_key():
    before = fastnn.get_num_threads()
    try:
        model, step, _ = trainer()()
        f = fastnn.capture(step)
        for n in (1, 2) * 3:
            fastnn.set_num_threads(n)
            f(*data(1)[0])
        assert f.info()["keys"] >= 2
    finally:
        fastnn.set_num_threads(before)


def test_structures_come_back():
    def step(x):
        return {"a": x + 1, "b": [x * 2, (x, None, 3)]}
    f = fastnn.capture(step)
    for i in range(4):
        r = f(fastnn.full((2,), float(i)))
        assert r["a"].tolist() == [i + 1] * 2 and r["b"][0].tolist() == [2 * i] * 2
        assert r["b"][1][0].tolist() == [i] * 2 and r["b"][1][1:] == (None, 3)


def test_outputs_do_not_alias():
    f = fastnn.capture(lambda x: x + 1)
    ys = [f(fastnn.full((2,), float(i))) for i in range(6)]
    assert [y.tolist()[0] for y in ys] == [1, 2, 3, 4, 5, 6]


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


def test_memory_made_in_the_arena_outlives_it():
    def step(x):
        box.append(x * 3)
        return x.sum()
    box = []
    f = fastnn.capture(step)
    f(fastnn.ones(4))
    kept = box.pop()
    del f
    gc.collect()
    assert kept.tolist() == [3.0] * 4


def test_arena_is_shared_by_programs():
    model, step, _ = trainer()()
    f = fastnn.capture(step)
    sizes = []
    for n in (256, 128, 64, 32):
        for _ in range(3):
            f(*data(1, rows=n)[0])
        sizes.append(f.info()["arena_bytes"])
    assert f.info()["programs"] == 4
    assert sizes[-1] <= 1.3 * sizes[0] + (1 << 16)


def test_grad_mode_is_a_key():
    model = net()
    f = fastnn.capture(lambda x: model(x).sum())
    x = data(1)[0][0]
    for _ in range(3):
        a = f(x)
        with fastnn.no_grad():
            b = f(x)
        assert bits(a) == bits(b)
    assert f.info()["keys"] == 2


def test_hooks_are_guarded():
    model = net()
    f = fastnn.capture(lambda x: model(x).sum())
    x = data(1)[0][0]
    for _ in range(3):
        plain = f(x).item()
    handle = model[0].register_forward_hook(lambda m, args, out: out * 0)
    changed = f(x).item()
    assert changed != plain
    handle.remove()
    assert f(x).item() == plain


def test_buffers_written_in_the_step():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", fastnn.zeros(1))

        def forward(self, x):
            self.seen.add_(1)
            return x.sum() * self.seen
    m = Counter()
    f = fastnn.capture(lambda x: m(x))
    out = [f(fastnn.ones(1)).item() for _ in range(6)]
    assert out == [1, 2, 3, 4, 5, 6] and m.seen.item() == 6


def test_versions_move_with_a_replay():
    w = fastnn.ones(2)
    f = fastnn.capture(lambda x: w.add_(x).sum())
    before = w._version
    for _ in range(5):
        f(fastnn.ones(2))
    assert w._version == before + 5


def test_two_python_threads_capture_and_train_at_once():
    def work(seed, out):
        fastnn_model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
        rng = np.random.default_rng(seed)
        with fastnn.no_grad():
            for p in fastnn_model.parameters():
                p.copy_(fastnn.from_numpy(rng.standard_normal(tuple(p.shape)).astype(np.float32) * 0.1))
        opt = optim.Adam(fastnn_model.parameters(), 1e-2)

        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(fastnn_model(x), y)
            loss.backward()
            opt.step()
            return loss
        f = fastnn.capture(step)
        out[seed] = [f(*args).item() for args in data(60, seed=seed)], [bits(p) for p in fastnn_model.parameters()]
    alone, together = {}, {}
    for s in range(4):
        work(s, alone)
    threads = [threading.Thread(target=work, args=(s, together)) for s in range(4)]
    [t.start() for t in threads]
    [t.join(60) for t in threads]
    assert alone == together


def test_one_captured_function_from_two_threads():
    f = fastnn.capture(lambda x: (x * 2).sum())
    bad = []

    def work(k):
        for _ in range(200):
            if f(fastnn.full((3,), float(k))).item() != 6.0 * k:
                bad.append(k)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join(60) for t in threads]
    assert not bad


def test_a_thread_transforms_while_the_main_thread_records():
    stop = threading.Event()
    seen = []

    def loader():
        while not stop.is_set():
            t = fastnn.tensor(np.arange(6, dtype=np.float32))
            seen.append((t * 2).numpy().sum())
    thread = threading.Thread(target=loader)
    thread.start()
    try:
        for n in range(4, 24):
            model, step, _ = trainer()()
            f = fastnn.capture(step)
            for args in data(4, rows=n):
                f(*args)
    finally:
        stop.set()
        thread.join(60)
    assert seen and set(seen) == {30.0}


OUTSIDE = {
    "class": (lambda x, k: F.cross_entropy(x, k[:, 0], ignore_index=-3), (0, 4, -3), (5, -1), IndexError,
              r"Target {0} is out of bounds.*holds class {0} at flat index 2"),
    "embedding": (lambda x, k: F.embedding(k, x), (0, 3), (4, -1), IndexError, "index {0} is out of bounds for dimension 0 with size 4"),
    "index": (lambda x, k: x[k[:, 0]], (3, -4), (4, -5), IndexError, "index {0} is out of bounds for dimension 0 with size 4"),
    "gather": (lambda x, k: x.gather(1, k), (0, 4), (5, -1), RuntimeError, "gather.*index {0} is out of bounds for dimension 1 with size 5"),
    "index_select": (lambda x, k: x.index_select(1, k[:, 0]), (0, 4), (5, -1), (IndexError, RuntimeError), "{0}"),
}


@pytest.mark.parametrize("f, good, bad, error, words", OUTSIDE.values(), ids=OUTSIDE)
def test_numbers_out_of_range_are_seen_before_a_replay(f, good, bad, error, words):
    """The step does not begin: parameters, random state and the program stay."""
    weight, outside = fastnn.randn(4, 5, requires_grad=True), fastnn.zeros(4, 1).long()
    opt = optim.SGD([weight], 0.1, momentum=0.9)

    def step(k):
        opt.zero_grad()
        F.dropout(f(weight, k), 0.5).sum().backward()
        opt.step()
    for numbers in (None, outside):                          # an argument; a tensor from outside that changes in place
        captured = fastnn.capture(step if numbers is None else lambda: step(outside))

        def call(value):
            k = fastnn.zeros(4, 1).long() if numbers is None else outside
            k.zero_()
            k[2] = value
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


def test_bad_capture_arguments():
    with pytest.raises(TypeError):
        fastnn.capture(3)
    with pytest.raises(ValueError):
        fastnn.capture(lambda: None, limit=0)


def test_as_a_method():
    class Trainer:
        k = 3.0

        @fastnn.capture
        def step(self, x):
            return x * self.k
    t = Trainer()
    assert [t.step(fastnn.full((1,), float(i))).item() for i in range(4)] == [0, 3, 6, 9]
