"""What this machine can do right now: the limits that results are quoted against."""
import time

import fastnn

STREAMS = 32 << 20         # bytes; traffic below that may stay in caches, and the copy speed is no limit to it


def least_seconds(flops, bytes, limits):
    """(seconds, which) of work at the limit min(FMA peak, copy speed * flops / byte): 'fma', 'copy' or None holds it back.

    Example:
        >>> from fastnn.bench.calibrate import least_seconds
        >>> least_seconds(2e9, 4e6, {"fma_gflops": 200.0, "copy_gbs": 20.0})
        (0.01, 'fma')
    """
    times = {"fma": flops / limits["fma_gflops"] / 1e9, "copy": bytes / limits["copy_gbs"] / 1e9 * (bytes >= STREAMS)}
    which = max(times, key=times.get)
    return (times[which], which) if times[which] else (0.0, None)


class Bandwidth:
    """GB/s of a copy between two blocks larger than caches, reading and writing counted; the blocks are kept."""

    def __init__(self, mebibytes=128):
        self.x = fastnn.ones(mebibytes << 18)
        self.y = fastnn.zeros_like(self.x)

    def measure(self, seconds=0.05):
        best, end = float("inf"), time.perf_counter() + seconds
        while best == float("inf") or time.perf_counter() < end:
            start = time.perf_counter()
            self.y.copy_(self.x)
            best = min(best, time.perf_counter() - start)
        return 2 * self.x.nbytes / best / 1e9
