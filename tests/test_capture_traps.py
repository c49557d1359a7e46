"""What a replay could get wrong in silence: each trap of docs/design.md. Eager is the oracle, bit for bit."""
import copy
import gc
import signal
import threading

import numpy as np
import pytest

import fastnn
from check import same_bits
from fastnn import nn, optim
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


def test_a_gradient_left_by_a_replay_is_seen_by_the_next_call():
    w = fastnn.ones(3, requires_grad=True)

    def step(x):
        loss = (w * x).sum()
        loss.backward()
        return loss
    f, x = fastnn.capture(step), fastnn.ones(3)
    for _ in range(4):
        w.grad = None
        f(x)
        assert w.grad.tolist() == [1, 1, 1]
    assert f.replays == 2
    f(x)
    assert w.grad.tolist() == [2, 2, 2]


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
    assert captured[2].info()["recordings"] <= 6           # for each key two, and twice the fresh gradient of a first recording


@pytest.mark.parametrize("zero", [dict(set_to_none=True), dict(set_to_none=False)])
def test_accumulation_by_one_captured_function(zero):
    """The program that adds to a gradient knows the one that makes it, and does not stand in its way; a user who holds it does."""
    def run(wrap, hold):
        model, kept, out = net(), [], []
        optimizer = optim.SGD(model.parameters(), 0.1)

        def accumulate(x, y):
            loss = F.cross_entropy(model(x), y) / 4
            loss.backward()
            return loss
        f = wrap(accumulate)
        for i, args in enumerate(data(60)):
            out.append(bits(f(*args)))
            if i % 4 == 3:
                if hold and i == 31:
                    kept = [p.grad for p in model.parameters()]
                    out.append([bits(g) for g in kept])
                optimizer.step()
                optimizer.zero_grad(**zero)
        if zero["set_to_none"]:
            out.append([bits(g) for g in kept])
        return out, [bits(p) for p in model.parameters()], f
    for hold in (False, True):
        eager, captured = run(lambda f: f, hold), run(fastnn.capture, hold)
        assert eager[:2] == captured[:2]
        assert captured[2].info()["recordings"] <= (6 if not hold else 12), captured[2].info()


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
    kept, values = [], []
    for args in data(8):
        f(*args)
        kept.append(model[0].weight.grad)    # the list alone holds it
        values.append(bits(kept[-1]))
    assert [bits(g) for g in kept] == values and len(set(values)) == 8


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


def test_same_tensor_twice():
    f = fastnn.capture(lambda a, b: a * 2 + b)
    x = fastnn.ones(3)
    for _ in range(4):
        assert f(x, x).tolist() == [3, 3, 3]
    assert f(x, x * 5).tolist() == [7, 7, 7]


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


def test_programs_move_with_the_memory_they_share():
    """A larger step comes later: the temporaries of the smaller one follow, and what the larger one's recording left stays."""
    v, w, kept = fastnn.randn(3, 8), fastnn.randn(8, 4), {}

    def step(x):
        y = kept[len(x)] = (x * 2).exp()
        return (fastnn.relu(fastnn.stack([y, y * 2, x]).t() @ v) @ w).sum(0)
    f = fastnn.capture(step)
    for i, n in enumerate((64, 64, 64, 3000, 3000, 3000, 64, 64, 20000, 20000, 20000, 64, 3000)):
        x, others = fastnn.arange(n).float() / n + i, {m: bits(y) for m, y in kept.items() if m != n}
        y = f(x)
        assert all(bits(kept[m]) == b for m, b in others.items())
        held = dict(kept)
        assert bits(y) == bits(step(x))
        kept.update(held)
    assert f.replays == 7 and f.info()["programs"] == 3


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_ends_the_wait_for_another_thread():
    """A call that waits for one in another thread still hears Ctrl-C; afterwards both go on."""
    inside, leave = threading.Event(), threading.Event()

    @fastnn.capture
    def step(x):
        inside.set()
        leave.wait(30)
        return x + 1

    class Rung(Exception):
        pass

    def ring(*_):
        raise Rung

    x, results = fastnn.ones(3), []
    other, before = threading.Thread(target=lambda: results.append(step(x))), signal.signal(signal.SIGALRM, ring)
    try:
        other.start()
        assert inside.wait(30)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Rung):
            step(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        leave.set()
        other.join()
    for y in (results[0], step(x), step(x), step(x)):
        same_bits(y, x + 1)
    assert step.info()["replays"] == 2


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


def test_as_a_method():
    class Trainer:
        k = 3.0

        @fastnn.capture
        def step(self, x):
            return x * self.k
    t = Trainer()
    assert [t.step(fastnn.full((1,), float(i))).item() for i in range(4)] == [0, 3, 6, 9]
