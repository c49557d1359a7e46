"""One library in one process: `python -m fastnn.bench.worker LIBRARY THREADS`, commands as JSON lines on standard
input, answers on standard output.

    {"prepare": name, "small": false}  makes the workload; answers its result and the seconds of the calls it took
    {"time": seconds, "limits": true}  runs it for about that long; answers seconds a call, and the machine's limits as
                                       measured directly before and after, their mean
    {"machine": true}                  answers limits, cost of a region and of a barrier, instruction set
"""
import json
import sys
import time

_COOL = 0.02       # seconds; an OpenMP team may spin for a while after its last region: the next library waits for that


def timed(call, seconds):
    """Seconds per call, over about that many seconds; one call before brings back what the caches lost."""
    call()
    n, spent, start = 0, 0.0, time.perf_counter()
    while n == 0 or spent < seconds:
        call()
        n += 1
        spent = time.perf_counter() - start
    return spent / n


class Limits:
    """FMA peak and bandwidth of this machine, measured for a while."""

    def __init__(self, threads, mebibytes):
        from .calibrate import Bandwidth
        self.threads, self.copy = threads, Bandwidth(mebibytes)

    def measure(self, seconds):
        from .calibrate import fma_peak
        return {"fma_gflops": fma_peak(self.threads, seconds), "copy_gbs": self.copy.measure(seconds)}


def machine(limits, seconds):
    from fastnn import _core
    region, barrier = _core.run_costs(limits.threads)
    tries = [limits.measure(seconds) for _ in range(3)]
    return {**{k: max(t[k] for t in tries) for k in tries[0]}, "region_ns": region, "barrier_ns": barrier,
            "isa": _core.get_isa(), "threading": _core.threading_kind()}


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
            call, result = make()
            start = time.perf_counter()
            answer = {"result": result(), "first_seconds": time.perf_counter() - start}
            if library == "fastnn_captured":     # what is timed may not be what gave the result: two recordings
                call(), call()
            yield answer
            continue
        if limits is None and ("machine" in command or command.get("limits")):
            limits = Limits(threads, 1 if small else 128)
        if "machine" in command:
            yield machine(limits, 0.001 if small else 0.05)
        else:
            brief = min(0.01, command["time"])
            before = limits.measure(brief) if command.get("limits") else {}
            seconds = timed(call, command["time"])
            after = limits.measure(brief) if command.get("limits") else {}
            if threads > 1:
                time.sleep(_COOL)
            yield {"seconds": seconds, "limits": {k: (before[k] + after[k]) / 2 for k in before}}


def main():
    library, threads = sys.argv[1], int(sys.argv[2])
    if library.startswith("torch"):
        import torch
        torch.set_num_threads(threads)
    elif library.startswith("fastnn"):
        import fastnn
        fastnn.set_num_threads(threads)
    for answer in serve(library, threads, sys.stdin):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
