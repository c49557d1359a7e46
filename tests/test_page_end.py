"""Nothing is read or written beyond an operand: each lies where the process's memory ends, or where it begins, with pages that
may not be touched beside it. A kernel that looks one element too far ends the process."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn import _core

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs mmap and mprotect")

CODE = Path(__file__).with_name("page_end.py").read_text()


@pytest.mark.parametrize("side", ("end", "begin"))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_nothing_beyond_the_operands_is_touched(dtype, side, isa):
    done = subprocess.run([sys.executable, "-c", CODE, isa, dtype, side], capture_output=True, text=True, timeout=300)
    last = (done.stdout.splitlines() or ["nothing"])[-1]
    died = signal.Signals(-done.returncode).name if done.returncode < 0 else done.returncode
    assert last == "done", f"{last}: {died}\n{done.stderr[-2000:]}"
    assert _core.get_isa() == isa
