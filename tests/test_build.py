"""setup.py and what it makes: the right kernels in the right kinds, rebuilt when and only when something changed; a small, quick import."""
import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys

import pytest

import fastnn
from fastnn import _core
from native import CC, ROOT, needs_cc, setup_py


def test_types_of_each_file():
    types = setup_py().kernel_types()
    assert types["gemm"] == types["brgemm"] == types["dropout"] == {"f32", "f64"}
    assert types["elem"] == types["copy"] == {"f32", "f64", "i64", "i32", "u8", "bool"}
    assert types["act"] == {"f32", "f64", "i64", "i32", "u8"}
    assert not types.keys() & {"run", "run_threads", "team", "mem", "dispatch", "table"}
    assert types.keys() >= {p.stem for p in (ROOT / "csrc").glob("*.c")} - set(setup_py().FLOOR2)


@needs_cc
def test_objects_are_rebuilt_when_something_changed(tmp_path, monkeypatch):
    setup = setup_py()
    for name in ("FASTNN_SANITIZE", "FASTNN_DEBUG_BUILD", "FASTNN_WERROR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a.c").write_text('#include "a.h"\nint f(void);\nint f(void) { return A; }\n')
    (tmp_path / "a.h").write_text("#define A 1\n")
    target, old = tmp_path / "a.o", 1_000_000_000
    for p in tmp_path.iterdir():
        os.utime(p, (old, old))

    def made(flags=()):
        before = target.read_bytes() if target.exists() else None
        if target.exists():
            os.utime(target, (old + 10, old + 10))
        cc = setup.Compiler([CC])
        assert cc.compile(tmp_path / "a.c", [*cc.flags, *flags], target)
        return before is None or target.stat().st_mtime != old + 10

    assert made() and not made()
    assert made(["-DB"]) and not made(["-DB"])
    (tmp_path / "a.h").write_text("#define A 2\n")                       # a header, saved after the object was made
    assert made(["-DB"])
    os.utime(tmp_path / "a.h", (old, old))
    assert not made(["-DB"])
    monkeypatch.setenv("FASTNN_DEBUG_BUILD", "1")
    assert made(["-DB"])
    (tmp_path / "a.c").write_text("no C at all\n")
    assert not setup.Compiler([CC]).compile(tmp_path / "a.c", [], target) and not target.exists()


def test_version_and_needs():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", fastnn.__version__)
    try:
        needs = metadata.requires("fastnn") or []
    except metadata.PackageNotFoundError:
        pytest.skip("fastnn is not installed but imported from its tree")
    assert metadata.version("fastnn") == fastnn.__version__
    assert [n for n in needs if "extra" not in n] == [n for n in needs if n.startswith("numpy")]


def test_kernels_of_every_instruction_set_are_there():
    compiled, setup = _core.isas_compiled(), setup_py()
    assert compiled[:len(setup.ISAS)] == list(setup.ISAS) and set(compiled[len(setup.ISAS):]) <= set(setup.ADDED)
    assert set(_core.isas()) <= set(_core.isas_compiled()) and len(_core.isas()) >= 1


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("nm") or "LD_PRELOAD" in os.environ, reason="ELF and nm, no sanitizer")
def test_the_extension_shows_nothing_but_its_door():
    done = subprocess.run(["nm", "-D", "--defined-only", _core.__file__], capture_output=True, text=True, check=True)
    names = [line.split() for line in done.stdout.splitlines()]
    assert {n[-1] for n in names} == {"PyInit__core"}


@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer loads slowly")
def test_import_is_quick():
    """`import fastnn` takes less than 0.1 s beyond NumPy (best of five; a loaded machine is given twice that)."""
    code = "import time, numpy\nt = time.perf_counter()\nimport fastnn\nprint(time.perf_counter() - t)"
    best = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(5))
    assert best < 0.2


def test_import_loads_what_it_needs_and_no_more():
    code = "import sys, numpy\nhad = set(sys.modules)\nimport fastnn\nprint(*sorted(m.split('.')[0] for m in set(sys.modules) - had))"
    new = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not new & {"torch", "sklearn", "PIL", "matplotlib", "tqdm", "safetensors", "multiprocessing", "concurrent", "urllib", "asyncio", "unittest"}
