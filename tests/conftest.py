"""Fixtures of all tests. Each test finds the library as a fresh process would: instruction set, threads, modes, seed.
"""
import os
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if not [*ROOT.glob("fastnn/_core.*.so"), *ROOT.glob("fastnn/_core.*.pyd")]:  # no build in this checkout: take the installed package,
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != ROOT]         # here, in other processes of this run
    os.environ["PYTHONSAFEPATH"] = "1"                                       # and in what tests start

# Tests run teams larger than the machine, on cores that may have other work: waiting OpenMP threads that spin would use
# up whole time slices.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:      # as a shell leaves it for what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "LD_PRELOAD" in os.environ:       # a sanitizer's allocator stays locked in a child that is forked while a thread begins or ends
    os.register_at_fork(before=lambda: time.sleep(0.05))

import fastnn  # noqa: E402
from fastnn import _core  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds; `make fast` leaves it out")


@pytest.fixture(autouse=True)
def fresh():
    """The library's state is put back after each test."""
    before = _core.get_isa(), fastnn.get_num_threads(), fastnn.get_default_dtype(), fastnn.default_generator.get_state()
    yield
    _core.set_grad_mode(True)
    if _core.get_isa() != before[0]:
        _core.set_isa(before[0])
    if fastnn.get_num_threads() != before[1]:
        fastnn.set_num_threads(before[1])
    fastnn.set_default_dtype(before[2])
    fastnn.default_generator.set_state(before[3])


@pytest.fixture(params=_core.isas())
def isa(request):
    """Each instruction set that this machine runs."""
    _core.set_isa(request.param)
    return request.param


@pytest.fixture(params=(1, 2, 3, 7))
def threads(request):
    """Teams of several sizes, also for work that would not be shared out otherwise."""
    grains = _core.set_work_grains(0, 0)
    fastnn.set_num_threads(request.param)
    yield request.param
    _core.set_work_grains(*grains)


@pytest.fixture(scope="session")
def torch():
    """PyTorch on one thread, where it is installed."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    torch.set_num_threads(1)
    return torch
