"""Small C libraries for the tests of the C floors: compiled from csrc/ and tests/ when first asked for, loaded with ctypes."""
import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
CC = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_cc = pytest.mark.skipif(not CC or os.name == "nt", reason="needs a C compiler")


@functools.cache
def has_openmp():
    if not CC:
        return False
    with tempfile.TemporaryDirectory() as d:
        probe = subprocess.run([CC, "-fopenmp", "-xc", "-", "-o", f"{d}/probe"], input="#include <omp.h>\nint main(void) { return 0; }",
                               text=True, capture_output=True)
    return probe.returncode == 0


@functools.cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="fastnn-native-")


@functools.cache
def build(name, sources, flags=()):
    """Path of the shared library lib<name>.so made of `sources` (relative to the checkout) with `flags`."""
    path = Path(_folder().name) / f"lib{name}.so"
    subprocess.run([CC, "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread", f"-I{CSRC}", *flags,
                    *(str(ROOT / s) for s in sources), "-o", str(path)], check=True)
    return path


def load(name, sources, flags=()):
    return ctypes.CDLL(str(build(name, tuple(sources), tuple(flags))))


@functools.cache
def setup_py():
    """setup.py as a module; it runs nothing when imported."""
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("fastnn_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
