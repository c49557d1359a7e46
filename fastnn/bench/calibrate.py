"""What this machine can do right now: the limits that results are quoted against."""
import time

import fastnn


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
