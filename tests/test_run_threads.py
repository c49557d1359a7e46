"""csrc/run_threads.c: its crew. What it shares with run.c is tested in test_run.py and test_team.py."""
import os
import threading

import pytest

from native import load, needs_cc
from runner import Runner, script, source

pytestmark = needs_cc


@pytest.fixture
def runner():
    return Runner(load(*source("threads")))


def test_the_crew_grows_and_rests(runner):
    for threads in (2, 7, 3, 1, 7, 2) * 10:
        assert runner.sizes(threads) == [threads] * threads


def test_a_second_caller_runs_alone(runner):
    """The crew serves one caller; another gets a team of one, not a wait and not a wrong answer."""
    sizes, stop = set(), False

    def churn():
        while not stop:
            sizes.add(tuple(runner.sizes(3)))

    others = [threading.Thread(target=churn) for _ in range(3)]
    for t in others:
        t.start()
    good = all(runner.chain((3, 2, 1, 3), 3) for _ in range(300))
    stop = True
    for t in others:
        t.join()
    assert good and sizes <= {(3, 3, 3), (1,)} and (3, 3, 3) in sizes


@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer needs more memory than the limit")
def test_no_threads_to_be_had():
    """Where the system gives no thread, the caller does the work."""
    assert script("threads", """
import resource
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))        # no room for many stacks
sizes = runner.sizes(200)
assert sizes == [len(sizes)] * len(sizes) and runner.chain((200, 1, 3), 200)
print(1 <= len(sizes) < 200)
""") == ["True"]
