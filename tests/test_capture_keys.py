"""What makes a captured step another one, to be recorded anew: arguments, layouts, threads, modes, and what its modules hold."""
import pytest

import fastnn
from check import machine
from fastnn import _core, nn
from fastnn.nn import functional as F
from steps import bits, both, data, net, trainer


def test_number_as_argument_is_part_of_the_key():
    f = fastnn.capture(lambda x, k: (x * k).sum())
    for _ in range(3):
        assert [f(fastnn.ones(2), k).item() for k in (1.0, 2.0, 3.0)] == [2.0, 4.0, 6.0]
    assert f.info()["replays"] == 3


def test_shapes_are_keys_and_the_limit_holds():
    model, step, _ = trainer()()
    f = fastnn.capture(step, limit=3)
    for n in (4, 8, 12, 16, 4, 8) * 3:
        x, y = data(1, rows=n)[0]
        f(x, y)
    assert f.info()["keys"] <= 3


def test_beyond_the_limit_the_key_goes_that_was_not_used_for_longest():
    f = fastnn.capture(lambda x: (x * 2).sum(), limit=2)
    a, b, c = (fastnn.ones(n) for n in (2, 3, 4))
    for x in (a, a, a, b, b, b, a, c, c):
        f(x)
    recorded = f.recordings
    f(a), f(c)
    assert f.recordings == recorded == 6
    f(b)
    assert f.recordings == 7


def test_layouts_are_keys():
    f = fastnn.capture(lambda x: (x * 2).sum(0))
    a = fastnn.arange(12).float().view(3, 4)
    for _ in range(4):
        assert f(a).tolist() == (a * 2).sum(0).tolist()
        assert f(a.t()).tolist() == (a.t() * 2).sum(0).tolist()
        assert f(a[:, ::2]).tolist() == (a[:, ::2] * 2).sum(0).tolist()
        assert f(a[:1].expand(3, 4)).tolist() == (a[:1].expand(3, 4) * 2).sum(0).tolist()


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


@pytest.mark.parametrize("alone, team, chosen", [(65, 100, [1, 1, 1]), (70, 100, [3, 3, 3]), (65, (100, 60, 100), [1, 3, 1])])
def test_small_programs_take_a_team_where_it_is_faster(alone, team, chosen, monkeypatch):
    """By a clock that says so: of 500 replays 20 as usual and 5 the other way; the medians count. One thread must save a third."""
    ticks = []

    def clock():
        replay, end = divmod(len(ticks), 2)
        ticks.append(replay)
        trial, turn = divmod(replay, 25)
        by_team = ([3] + chosen)[trial] == 3
        ns = (team[trial] if isinstance(team, tuple) else team) if by_team == (turn < 20) else alone
        return replay * 10_000 + end * ns * (10 if replay % 3 == 1 else 1)
    monkeypatch.setattr("time.perf_counter_ns", clock)
    grains, x = _core.set_work_grains(0, 1000), fastnn.randn(50_000)
    f, want, threads = fastnn.capture(lambda x: (x * 2).sum()), (x * 2).sum().item(), []
    try:
        with machine(threads=3, every_thread=False):
            f(x), f(x)
            for _ in range(1100):
                assert f(x).item() == want
                threads += f.info()["threads"]
    finally:
        _core.set_work_grains(*grains)
    assert len(ticks) == 3 * 50
    assert threads == [3] * 24 + chosen[:1] * 500 + chosen[1:2] * 500 + chosen[2:] * 76


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


def test_freezing_and_unfreezing():
    def calls(model, opt):
        for i, args in enumerate(data(16)):
            if i in (5, 10):
                model[0].requires_grad_(i == 10)
            yield args
    f = both(trainer(), calls)
    assert f.info()["replays"] >= 6


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
