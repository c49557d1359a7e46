"""csrc/dispatch.c: the fastest table that the machine runs, or the one that FASTNN_ISA names."""
import os
import subprocess
import sys

import pytest

from fastnn import _core
from native import build, needs_cc

FAKE = "-DFN_ISAS=FN_X(slow)FN_X(fast)FN_X(alien)"


def chosen(path, code="", isa=None):
    """The name of the table in use after `code`, in a process with FASTNN_ISA=isa."""
    env = {k: v for k, v in os.environ.items() if k != "FASTNN_ISA"}
    code = f"import ctypes\nlib = ctypes.CDLL({str(path)!r})\nlib.fn_table_now.restype = lib.fn_table_at.restype = " \
           f"ctypes.POINTER(ctypes.c_char_p)\n{code}\nprint(lib.fn_table_now()[0].decode())"
    done = subprocess.run([sys.executable, "-c", code], env={**env, **({"FASTNN_ISA": isa} if isa else {})}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_cc
def test_choice():
    """Of three tables, the last of which this machine does not run."""
    lib = build("dispatch", ("csrc/dispatch.c", "tests/dispatch_harness.c"), (FAKE,))
    assert chosen(lib) == "fast"
    assert chosen(lib, isa="slow") == "slow"
    assert chosen(lib, isa="alien") == chosen(lib, isa="none") == "fast"
    assert chosen(lib, "assert lib.fn_table_force(b'slow') == 0") == "slow"
    assert chosen(lib, "assert lib.fn_table_force(b'alien') == lib.fn_table_force(b'none') == -1") == "fast"
    assert chosen(lib, "assert lib.fn_table_count() == 3 and [lib.fn_table_at(i)[0] for i in range(3)] == [b'slow', b'fast', b'alien']") == "fast"


def imported(isa=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FASTNN_")}
    return subprocess.run([sys.executable, "-c", "from fastnn import _core; print(_core.get_isa())"], capture_output=True, text=True,
                          env={**env, **({"FASTNN_ISA": isa} if isa else {}), **more})


def test_the_environment_chooses():
    assert imported().stdout.strip() == _core.isas()[-1]
    for isa in _core.isas():
        assert imported(isa).stdout.strip() == isa


def test_a_name_that_is_not_to_be_had_is_an_error():
    done = imported("sse9")
    assert done.returncode and "FASTNN_ISA: 'sse9' is not one of" in done.stderr
    done = imported(FASTNN_NUM_THREADS="many")
    assert done.returncode and "FASTNN_NUM_THREADS: expected a positive number, but got 'many'" in done.stderr
    with pytest.raises(ValueError, match="'sse9' is not one of"):
        _core.set_isa("sse9")


def test_every_operation_is_listed_once():
    names = [name for name, _, _ in _core.ops()]
    assert len(set(names)) == len(names) > 90
    assert {flags for _, _, flags in _core.ops()} <= {0, 1, 2, 3}
