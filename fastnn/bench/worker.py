"""One library in one process: `python -m fastnn.bench.worker LIBRARY THREADS`, commands as JSON lines on standard
input, answers on standard output.

    {"prepare": name, "small": false}  makes the workload; answers its result and the seconds of the calls it took, or that
                                       it is missing here, or why it failed
    {"time": seconds, "limits": true}  runs it for about that long; answers seconds a call, and the machine's limits as
                                       measured meanwhile (FMA peak) and directly before and after (copy)
    {"machine": true}                  answers limits, cost of a region and of a barrier, instruction set
"""
import json
import os
import statistics
import sys
import time

_COOL = 0.05       # seconds; a team may spin for a while after its last work (OpenBLAS 30 ms): the next library waits for that


_SLICES = 8        # of a timing, with a look at the FMA peak between them
_GLANCE = 0.0005   # seconds of such a look
_READ = 0.00005    # seconds of calls between two looks at the clock, at least


def timed(call, seconds, between=lambda: None, warm=True):
    """Seconds per call, over about that many seconds in slices; `warm`: one call before brings back what the caches lost.
    The clock is read after a call, or after so many short ones that reading it costs nothing beside them."""
    if warm:
        call()
    n, spent, run = 0, 0.0, 1
    for i in range(1, _SLICES + 1):
        between()
        start, before = time.perf_counter(), spent
        while n == 0 or spent < seconds * i / _SLICES:
            for _ in range(run):
                call()
            n += run
            spent = before + time.perf_counter() - start
            if run * spent < n * _READ:
                run *= 2
    between()
    return spent / n


class Limits:
    """FMA peak and bandwidth of this machine. The clock falls under vector work by a sixth and more, and differs from one
    moment to the next; so the peak that a timing is held against is measured within it, between its slices."""

    def __init__(self, threads, mebibytes):
        from .calibrate import Bandwidth
        self.threads, self.copy, self.glances = threads, Bandwidth(mebibytes), []

    def measure(self, seconds):
        from fastnn import _core
        return {"fma_gflops": _core.fma_peak(seconds, self.threads), "copy_gbs": self.copy.measure(seconds)}

    def glance(self):
        from fastnn import _core
        self.glances.append(_core.fma_peak(_GLANCE, self.threads))

    def around(self, call, seconds, warm=True):
        """(seconds per call, the limits meanwhile)"""
        brief, self.glances = min(0.01, seconds), []
        before = self.copy.measure(brief)
        spent = timed(call, seconds, self.glance, warm)
        return spent, {"fma_gflops": statistics.mean(self.glances), "copy_gbs": (before + self.copy.measure(brief)) / 2}


def machine(limits, seconds):
    from fastnn import _core
    region, barrier = _core.run_costs(limits.threads)
    tries = [limits.measure(seconds) for _ in range(3)]
    return {**{k: max(t[k] for t in tries) for k in tries[0]}, "region_ns": region, "barrier_ns": barrier,
            "isa": _core.get_isa(), "threading": _core.threading_kind()}


def said(error):
    """An error in one line."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"[:200]


def serve(library, threads, lines):
    """The answer to each line."""
    from .workloads import WORKLOADS
    call = limits = None
    for line in lines:
        command = json.loads(line)
        small = command.get("small", False)
        if "prepare" in command:
            call = None                          # the one before goes first
            workload = WORKLOADS[command["prepare"]]
            make = (workload.small() if small else workload).form(library)
            if make is None:
                yield {"missing": True}
                continue
            warm = True
            try:
                call, result = make()
                start = time.perf_counter()
                answer = {"result": result(), "first_seconds": time.perf_counter() - start}
            except Exception as error:
                if library.startswith("fastnn"):
                    raise
                call, answer = None, {"failed": said(error)}
            yield answer
            continue
        if limits is None and ("machine" in command or command.get("limits")):
            limits = Limits(threads, 1 if small else 128)
        if "machine" in command:
            yield machine(limits, 0.001 if small else 0.05)
        else:
            if command.get("limits"):
                seconds, meanwhile = limits.around(call, command["time"], warm)
            else:
                seconds, meanwhile = timed(call, command["time"], warm=warm), {}
            warm = seconds < command["time"]             # a call that fills its turn has no use for another
            if threads > 1:
                time.sleep(_COOL)
            yield {"seconds": seconds, "limits": meanwhile}


def main():
    library, threads = sys.argv[1], int(sys.argv[2])
    if library == "jax" and hasattr(os, "sched_setaffinity"):            # XLA's pool has a thread for each processor it may run on
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if library.startswith("torch"):
        import torch
        torch.set_num_threads(threads)
    elif library.startswith("fastnn"):
        import fastnn
        fastnn.set_num_threads(threads)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                                # what libraries print is no answer
    for answer in serve(library, threads, sys.stdin):
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
