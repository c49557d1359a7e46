"""csrc/brgemm.c through ctypes: tiles of every height and width, offsets, what sums start from; and what the compiler made of it."""
import ctypes
import functools
import re
import shutil
import subprocess

import numpy as np
import pytest

import ref
from check import compare
from fastnn import _core
from native import CC, CSRC, needs_cc, setup_py

pytestmark = needs_cc
ISAS = [isa for isa in _core.isas() if isa not in setup_py().ADDED]          # one that adds to another has its vectors
BUILDS = [(isa, "f32") for isa in ISAS] + [(ISAS[-1], "f64")]
DTYPES = {"f32": np.float32, "f64": np.float64}
POINTERS, SIZES = "c init a b a_at b_at", "m n k count ldc ld_init a_m a_k b_k b_panel nv relu far_a far_c ahead ahead_k ahead_panel"


class Brgemm(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in POINTERS.split()] + [(n, ctypes.c_int64) for n in SIZES.split()]


@functools.cache
def library(folder, isa, t):
    """brgemm.c compiled as setup.py compiles it, but with its names to be seen."""
    setup, path = setup_py(), folder / f"{isa}-{t}.so"
    flags = [f for f in setup.Compiler([CC]).flags if f != "-fvisibility=hidden"]
    subprocess.run([CC, *flags, f"-DFN_ISA={isa}", f"-DFN_DTYPE={t}", *setup.ISAS[isa], "-shared", CSRC / "brgemm.c", "-o", path], check=True)
    return path


@pytest.fixture(scope="module", params=BUILDS, ids="-".join)
def build(request, tmp_path_factory):
    isa, t = request.param
    path = library(tmp_path_factory.getbasetemp(), isa, t)
    return getattr(ctypes.CDLL(str(path)), f"fn_brgemm_{t}_{isa}"), DTYPES[t], isa, path


def lanes(isa, dtype):
    return {"avx512": 64, "avx2": 32}.get(isa, 16) // dtype().itemsize


def run(f, c, a, b, k, nv, vl, init=None, at=None, relu=False, far=False):
    """C = f of the block: a is any strided (m, k) array, b panels (count or 1, panels, k, nv vl), both with `at` offsets in elements."""
    z = c.itemsize
    offsets = [np.array(o, np.int64) for o in at] if at else [None, None]
    p = Brgemm(c.ctypes.data, None if init is None else init.ctypes.data, a.ctypes.data, b.ctypes.data,
               *(None if o is None else o.ctypes.data for o in offsets),
               a.shape[0], c.shape[1], k, len(at[0]) if at else 1, c.strides[0] // z, 0 if init is None or init.ndim == 1 else init.strides[0] // z,
               a.strides[0] // z, a.strides[1] // z, nv * vl, b.shape[-2] * nv * vl, nv, relu, far, far)
    f(ctypes.byref(p))
    return c


def panels(b, width):
    """(K, N) as panels (N / width, K, width), the last one padded."""
    K, N = b.shape
    padded = np.zeros((K, -(-N // width) * width), b.dtype)
    padded[:, :N] = b
    return np.ascontiguousarray(padded.reshape(K, -1, width).transpose(1, 0, 2))


@pytest.mark.parametrize("nv", (1, 2, 4))
def test_tiles(build, nv):
    """Every height up to two tiles, rows apart and beside each other, widths of 1 to 5 vectors; each element has the bits it has alone."""
    f, dtype, isa, _ = build
    rng, vl, k = np.random.default_rng(0), lanes(isa, dtype), 19
    a = rng.standard_normal((30, k)).astype(dtype)
    for vectors in range(1, 6):
        b = rng.standard_normal((k, vectors * vl)).astype(dtype)
        alone = np.concatenate([run(f, np.empty((1, vectors * vl), dtype), a[i:i + 1], panels(b, vl), k, 1, vl) for i in range(30)])
        compare(alone, ref.gemm(a.astype(float), b.astype(float)), dtype.__name__, tol=k, bound=np.abs(a).astype(float) @ np.abs(b))
        for m in range(1, 31):
            around = np.full((m + 2, vectors * vl + 3), 7, dtype)
            for rows in (a, np.asfortranarray(a)):
                run(f, around[1:-1, 1:-2], rows[:m], panels(b, nv * vl), k, nv, vl)
                assert around[1:-1, 1:-2].tobytes() == alone[:m].tobytes()
                around[1:-1, 1:-2] = 7
                assert (around == 7).all()


@pytest.mark.parametrize("nv", (2, 4))
@pytest.mark.parametrize("k", (63, 64, 100))
def test_operands_fetched_from_afar(build, nv, k):
    """Of memory that is fetched ahead nothing is used: the bits are the same for every height and width, also where A and C end."""
    f, dtype, isa, _ = build
    rng, vl = np.random.default_rng(3), lanes(isa, dtype)
    a, b = rng.standard_normal((30, k)).astype(dtype), rng.standard_normal((k, 7 * vl)).astype(dtype)
    for m in range(1, 31):
        for vectors in (1, 2, 3, 7):
            near, far = [run(f, np.empty((m, vectors * vl), dtype), a[30 - m:], panels(b[:, :vectors * vl], nv * vl), k, nv, vl, at=at, far=far)
                         for far, at in ((False, None), (True, ([0], [0])))]
            assert near.tobytes() == far.tobytes(), (m, vectors)


def test_strides_and_starts(build):
    """A in any order; the sum begins with zeros, a row, a matrix, or C itself; k in two steps is k in one."""
    f, dtype, isa, _ = build
    rng, vl, m, k = np.random.default_rng(1), lanes(isa, dtype), 17, 23
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, 3 * vl)).astype(dtype)
    row, matrix = rng.standard_normal(3 * vl).astype(dtype), rng.standard_normal((m, 3 * vl)).astype(dtype)
    orders = (a, np.asfortranarray(a), np.repeat(a, 2, 1)[:, ::2], np.repeat(a.T, 3, 0)[::3].T)
    bound = np.abs(a).astype(float) @ np.abs(b) + 3
    for init in (None, row, matrix):
        for relu in (False, True):
            want = ref.gemm(a.astype(float), b.astype(float), None if init is None else np.broadcast_to(init, matrix.shape), act="relu" if relu else "none")
            found = {run(f, np.empty_like(matrix), x, panels(b, 2 * vl), k, 2, vl, init, relu=relu).tobytes() for x in orders}
            got = np.frombuffer(found.pop(), dtype).reshape(want.shape)
            assert not found
            compare(got, want, dtype.__name__, tol=k, bound=bound)
        c = run(f, np.empty_like(matrix), a[:, :9], panels(b[:9], 2 * vl), 9, 2, vl, init)
        run(f, c, a[:, 9:], panels(b[9:], 2 * vl), k - 9, 2, vl, c)
        assert c.tobytes() == run(f, np.empty_like(matrix), a, panels(b, 2 * vl), k, 2, vl, init).tobytes()
    assert (run(f, np.empty_like(matrix), a, panels(b, 2 * vl), 0, 2, vl, row) == row).all()


def test_batch_of_blocks(build):
    """The sum over i of A_i B_i at offsets has the bits of one long k."""
    f, dtype, isa, _ = build
    rng, vl, m, k, n = np.random.default_rng(2), lanes(isa, dtype), 15, 7, 5
    a, b = rng.standard_normal((m, n * k)).astype(dtype), rng.standard_normal((n * k, 2 * vl)).astype(dtype)
    order = [3, 0, 4, 1, 2]
    want = run(f, np.empty((m, 2 * vl), dtype), np.hstack([a[:, i * k:i * k + k] for i in order]),
               panels(np.vstack([b[i * k:i * k + k] for i in order]), 2 * vl), n * k, 2, vl)
    got = run(f, np.empty((m, 2 * vl), dtype), a, panels(b, 2 * vl), k, 2, vl, at=([i * k for i in order], [i * k * 2 * vl for i in order]))
    assert got.tobytes() == want.tobytes()
    got = run(f, np.empty((m, 2 * vl), dtype), np.asfortranarray(a), panels(b, 2 * vl), k, 2, vl, at=([i * k * m for i in order], [i * k * 2 * vl for i in order]))
    assert got.tobytes() == want.tobytes()


def test_relu_keeps_nan(build):
    f, dtype, isa, _ = build
    vl = lanes(isa, dtype)
    row = np.resize(np.array([np.nan, -np.inf, np.inf, -1, -0.0, 2], dtype), vl)
    got = run(f, np.empty((1, vl), dtype), np.zeros((1, 1), dtype), np.zeros((1, 1, vl), dtype), 1, 1, vl, row, relu=True)
    np.testing.assert_array_equal(got[0], np.where(np.isnan(row), row, np.maximum(row, 0)))


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
def test_multiply_adds_are_fused_and_sums_stay_in_registers(build):
    """The widest vectors, one fused multiply-add for each vector of the tile and step of k, and no vector on the stack."""
    _, dtype, isa, path = build
    if isa not in ("avx512", "avx2"):
        pytest.skip(f"{isa} has no fused multiply-add, or another disassembly")
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    register = {"avx512": "zmm", "avx2": "ymm"}[isa]
    tiles = dict(re.findall(r"^[0-9a-f]+ <((?:tile|beside|far)_\d+x\d+)>:\n((?:.+\n)+)", text, re.M))
    assert len(tiles) == {"avx512": 68, "avx2": 34}[isa]
    for name, code in tiles.items():
        vectors = np.prod([int(n) for n in name.split("_")[1].split("x")])
        fused = re.findall(rf"vfmadd\d+p[sd]\s.*%{register}\d+$", code, re.M)
        assert fused and len(fused) % vectors == 0 and len(fused) <= 4 * vectors, (name, len(fused))
        assert not re.search(r"\bv?(mul|add)p[sd]\s", code), name
        assert not re.search(rf"vmov\w+\s+%{register}\d+,-?\w*\(%r[sb]p", code), name
