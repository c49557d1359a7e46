"""csrc/mem.c through ctypes: blocks never overlap, memory stays near what is used, fork and threads are safe."""
import ctypes
import os
import random
import subprocess
import sys
import threading
from bisect import bisect, insort

import pytest

from native import build, load, needs_cc

pytestmark = needs_cc
MB = 1 << 20
SLACK = 12 * MB                 # granules, and the pool's own
VARIANTS = {"plain": (), "guard": ("-DFN_GUARD",)}


class Stats(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int64) for n in ("in_use", "peak_in_use", "resident", "calls")]


def declare(lib):
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    for name, result, *args in (("fn_pool_new", pointer), ("fn_pool_drop", None, pointer), ("fn_alloc", pointer, pointer, size),
                                ("fn_free", None, pointer), ("fn_pool_of", pointer, pointer),
                                ("fn_pool_contains", ctypes.c_int, pointer, pointer), ("fn_block_bytes", size, pointer),
                                ("fn_pool_trim", None, pointer, size), ("fn_pool_info", Stats, pointer),
                                ("fn_pool_reset_peak", None, pointer), ("fn_block_check", ctypes.c_int, pointer), ("fn_mem_init", None)):
        getattr(lib, name).restype, getattr(lib, name).argtypes = result, args
    lib.fn_mem_init()
    return lib


@pytest.fixture(params=VARIANTS)
def lib(request):
    return declare(load(f"mem-{request.param}", ["csrc/mem.c"], VARIANTS[request.param]))


@pytest.fixture
def mem():
    return declare(load("mem-plain", ["csrc/mem.c"]))


def random_bytes(rng):
    return rng.choice((rng.randrange(300), rng.randrange(40_000), rng.randrange(3 * MB)))


def test_blocks_are_aligned_apart_and_whole(lib):
    """Random life: no two blocks overlap, each keeps its bytes, all merge again in the end."""
    rng, pool, alive, starts = random.Random(1), lib.fn_pool_new(), {}, []
    for step in range(6000):
        if len(alive) > 150 or (alive and rng.random() < 0.45):
            p = rng.choice(starts)
            n, tag = alive.pop(p)
            starts.remove(p)
            assert ctypes.string_at(p, min(n, 99)) == bytes([tag]) * min(n, 99)
            assert ctypes.string_at(p + max(n - 99, 0), min(n, 99)) == bytes([tag]) * min(n, 99)
            assert lib.fn_block_check(p) == 0
            lib.fn_free(p)
        else:
            n = random_bytes(rng)
            p = lib.fn_alloc(pool, n)
            assert p and p % 64 == 0 and lib.fn_block_bytes(p) >= n and lib.fn_pool_of(p) == pool
            i = bisect(starts, p)
            assert i == len(starts) or p + max(n, 1) <= starts[i]
            assert i == 0 or starts[i - 1] + alive[starts[i - 1]][0] <= p
            alive[p] = n, step % 251
            insort(starts, p)
            ctypes.memset(p, step % 251, n)
            assert lib.fn_pool_contains(pool, p) and not lib.fn_pool_contains(pool, id(rng))
    info, asked = lib.fn_pool_info(pool), sum(n for n, _ in alive.values())
    assert asked <= info.in_use < 1.1 * asked + 128 * len(alive)
    assert info.peak_in_use >= info.in_use and info.calls == 6000
    for p in starts:
        lib.fn_free(p)
    assert lib.fn_pool_info(pool).in_use == 0
    first = lib.fn_alloc(pool, 100 * MB)
    lib.fn_free(first)
    assert first == lib.fn_alloc(pool, 200 * MB)         # nothing of the past is in the way
    lib.fn_free(first)
    lib.fn_pool_drop(pool)


def test_empty_blocks_are_unique(lib):
    pool = lib.fn_pool_new()
    blocks = [lib.fn_alloc(pool, 0) for _ in range(10)]
    assert None not in blocks and len(set(blocks)) == 10
    for p in blocks:
        lib.fn_free(p)
    lib.fn_free(None)
    lib.fn_pool_drop(pool)


def test_guard_words_tell_overruns():
    lib = declare(load("mem-guard", ["csrc/mem.c"], VARIANTS["guard"]))
    pool = lib.fn_pool_new()
    for n in (0, 1, 64, 1000, 2 * MB):
        for offset in (n, n + 7):
            p = lib.fn_alloc(pool, n)
            assert lib.fn_block_check(p) == 0
            old = ctypes.string_at(p + offset, 1)
            ctypes.memset(p + offset, 1, 1)
            assert lib.fn_block_check(p) == -1
            ctypes.memset(p + offset, old[0], 1)
            lib.fn_free(p)
    lib.fn_pool_drop(pool)


def test_nonsense_sizes_are_refused(mem):
    pool = mem.fn_pool_new()
    assert mem.fn_alloc(pool, -1) is None and mem.fn_alloc(pool, 1 << 62) is None and mem.fn_alloc(pool, (1 << 63) - 1) is None
    assert mem.fn_pool_info(pool).in_use == 0
    mem.fn_pool_drop(pool)


def test_a_dropped_pool_lives_until_its_last_block(mem):
    pool = mem.fn_pool_new()
    p = mem.fn_alloc(pool, 1000)
    mem.fn_pool_drop(pool)
    ctypes.memset(p, 7, 1000)
    mem.fn_free(p)
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            assert not any(int(a, 16) <= p < int(b, 16) for a, b in (line.split()[0].split("-") for line in maps))


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_reuse_costs_no_page_faults(mem):
    import resource
    pool = mem.fn_pool_new()

    def rounds(n):
        for _ in range(n):
            p, q = mem.fn_alloc(pool, 25 * MB), mem.fn_alloc(pool, 3000)
            for offset in range(0, 25 * MB, 4096):
                ctypes.memset(p + offset, 1, 1)
            mem.fn_free(p)
            mem.fn_free(q)

    rounds(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    rounds(10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20        # Python's own; each round writes 6400 pages
    mem.fn_pool_drop(pool)


def rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_random_steps_stay_near_their_peak(mem):
    """Steps of random shapes beside parameters that stay: what is resident is bounded by the largest recent step."""
    rng, pool = random.Random(3), mem.fn_pool_new()
    start = rss() if sys.platform == "linux" else 0
    keep = [mem.fn_alloc(pool, rng.randrange(2 * MB)) for _ in range(20)]
    for step in range(400):
        scale = rng.random()
        blocks = []
        for _ in range(60):
            n = int(scale * rng.choice((100, 5000, 100_000, 4 * MB)) * (0.5 + rng.random()))
            p = mem.fn_alloc(pool, n)
            ctypes.memset(p, 1, n if step < 40 else min(n, 1))      # pages of the first steps are there for certain
            blocks.append(p)
            if rng.random() < 0.4:
                mem.fn_free(blocks.pop(rng.randrange(len(blocks))))
        if step % 7 == 0:                                           # state made late, between activations
            keep.append(mem.fn_alloc(pool, rng.randrange(30_000)))
        rng.shuffle(blocks)
        for p in blocks:
            mem.fn_free(p)
        info = mem.fn_pool_info(pool)
        assert info.resident <= 1.25 * info.peak_in_use + SLACK, step
    if start:
        assert rss() - start <= 1.25 * info.peak_in_use + SLACK + 4 * MB
    mem.fn_pool_trim(pool, 0)
    info = mem.fn_pool_info(pool)
    assert info.resident <= info.in_use + 2 * len(keep) * MB
    for p in keep:
        mem.fn_free(p)
    mem.fn_pool_trim(pool, 0)
    assert mem.fn_pool_info(pool).resident == 0
    mem.fn_pool_drop(pool)


def test_growth_does_not_leave_its_past_behind(mem):
    """Each block outgrows every hole that the ones before it left: those holes' pages go back at once."""
    pool, pins = mem.fn_pool_new(), []
    for step in range(25):
        p = mem.fn_alloc(pool, (20 + step) * MB)
        pins.append(mem.fn_alloc(pool, 64_000))                     # keeps neighbours apart
        mem.fn_free(p)
        info = mem.fn_pool_info(pool)
        assert info.resident <= 1.25 * info.peak_in_use + SLACK, step
    for p in pins:
        mem.fn_free(p)
    mem.fn_pool_drop(pool)


def test_a_past_peak_is_given_back(mem):
    """One large step, then small ones: its pages leave after some of them, and the small ones fault no more."""
    pool = mem.fn_pool_new()
    big = [mem.fn_alloc(pool, 20 * MB) for _ in range(10)]
    for p in big:
        ctypes.memset(p, 1, 20 * MB)
    for p in big:
        mem.fn_free(p)
    assert mem.fn_pool_info(pool).resident >= 200 * MB              # kept for the next step
    for _ in range(1200):
        p, q = mem.fn_alloc(pool, 8 * MB), mem.fn_alloc(pool, 8 * MB)
        mem.fn_free(p)
        mem.fn_free(q)
    assert mem.fn_pool_info(pool).resident <= 1.25 * 16 * MB + SLACK
    mem.fn_pool_reset_peak(pool)
    assert mem.fn_pool_info(pool).peak_in_use == 0
    mem.fn_pool_drop(pool)


def test_threads_share_a_pool(lib):
    """Blocks made by one thread and freed by another; every block keeps what was written to it."""
    pool, mail, wrong = lib.fn_pool_new(), [[] for _ in range(4)], []

    def live(me):
        rng = random.Random(me)
        for _ in range(1500):
            n = 8 + random_bytes(rng) // 16
            p = lib.fn_alloc(pool, n)
            ctypes.memset(p, me, n)
            mail[rng.randrange(4)].append((p, n, me))
            if mail[me] and rng.random() < 0.9:
                p, n, tag = mail[me].pop()
                if ctypes.string_at(p + n - 8, 8) != bytes([tag]) * 8 or lib.fn_block_check(p):
                    wrong.append((p, n, tag))
                lib.fn_free(p)

    threads = [threading.Thread(target=live, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    for p, _, _ in sum(mail, []):
        lib.fn_free(p)
    assert lib.fn_pool_info(pool).in_use == 0
    lib.fn_pool_drop(pool)


def run_script(code, timeout=60):
    done = subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1])\n" + code, os.path.dirname(__file__),
                           str(build("mem-churn", ("csrc/mem.c", "tests/mem_harness.c")))], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAD = "import ctypes, os, resource, threading\nfrom test_mem import declare\nlib = declare(ctypes.CDLL(sys.argv[2]))\n"


def test_fork_while_a_thread_allocates():
    """The child gets whole pools and free locks, whatever the other thread was doing."""
    run_script(HEAD + """
pool, stop = lib.fn_pool_new(), ctypes.c_int(0)
lib.churn.argtypes = ctypes.c_void_p, ctypes.c_void_p
thread = threading.Thread(target=lib.churn, args=(pool, ctypes.addressof(stop)))
thread.start()
for _ in range(100):
    child = os.fork()
    if child == 0:
        p = lib.fn_alloc(pool, 1 << 20)
        ctypes.memset(p, 1, 1 << 20)
        lib.fn_free(p)
        lib.fn_pool_drop(lib.fn_pool_new())
        os._exit(0 if p else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.value = 1
thread.join()
""")


@pytest.mark.skipif(sys.platform != "linux" or "LD_PRELOAD" in os.environ, reason="limits as Linux has them; a sanitizer needs more")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_gives_null(limit):
    """Under a limit on address space, or on writable memory as under strict overcommit, pools still form, leave room for others,
    and say NULL when there is no more; what is freed can be had again."""
    run_script(HEAD + f"""
resource.setrlimit(resource.{limit}, (2 << 30, 2 << 30))
pools = [lib.fn_pool_new() for _ in range(4)]
assert all(pools)
bytearray(256 << 20)
small = [lib.fn_alloc(pools[1], 1000) for _ in range(20_000)]          # more than is set apart for small ones
assert None not in small and len(set(small)) == 20_000
blocks = []
while (p := lib.fn_alloc(pools[0], 16 << 20)) is not None:
    blocks.append(p)
assert 8 <= len(blocks) <= 128
in_use = lib.fn_pool_info(pools[0]).in_use
assert len(blocks) << 24 <= in_use < (len(blocks) << 24) + (1 << 20)
lib.fn_free(blocks.pop())
assert lib.fn_alloc(pools[0], 16 << 20) is not None
""")


def test_an_arena_stands_writes_to_its_freed_blocks(mem):
    """A replay writes wherever a block of the recording was; the books lie elsewhere and stay whole."""
    rng, pool, alive, spans = random.Random(5), mem.fn_pool_new(), [], []
    for round in range(5):
        for _ in range(200):
            if alive and rng.random() < 0.4:
                mem.fn_free(alive.pop(rng.randrange(len(alive))))
            else:
                n = random_bytes(rng)
                alive.append(mem.fn_alloc(pool, n))
                spans.append((alive[-1], n))
        for p, n in spans:
            ctypes.memset(p, 0xEE, n)
    assert len(set(alive)) == len(alive)
    for p in alive:
        mem.fn_free(p)
    assert mem.fn_pool_info(pool).in_use == 0
    mem.fn_pool_drop(pool)
