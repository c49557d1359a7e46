"""What this machine can do right now: the limits that results are quoted against."""
import threading
import time

import fastnn
from fastnn import _core


def fma_peak(threads):
    """GFLOP/s of float32 multiply-adds, all threads at once; the best of three."""
    best = 0.0
    for _ in range(3):
        found = []
        team = [threading.Thread(target=lambda: found.append(_core.fma_peak(0.05))) for _ in range(threads)]
        for t in team:
            t.start()
        for t in team:
            t.join()
        best = max(best, sum(found))
    return best


def bandwidth(threads, megabytes=256):
    """GB/s of a copy between blocks larger than the caches, reading and writing counted."""
    fastnn.set_num_threads(threads)
    x = fastnn.ones(megabytes * 2 ** 20 // 8)
    y = fastnn.zeros_like(x)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        y.copy_(x)
        best = min(best, time.perf_counter() - start)
    return 2 * x.nbytes / best / 1e9
