"""One library in one process: `worker.py LIBRARY THREADS`, commands as JSON lines on standard input, answers on standard output.

{"prepare": name} makes the workload and answers its result; {"time": seconds} runs it for about that long and answers seconds per call.
"""
import json
import os
import sys
import time


def main():
    library, threads = sys.argv[1], int(sys.argv[2])
    if library == "torch":
        import torch
        torch.set_num_threads(threads)
    elif library.startswith("fastnn"):
        import fastnn
        fastnn.set_num_threads(threads)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from workloads import WORKLOADS
    call = None
    for line in sys.stdin:
        command = json.loads(line)
        if "prepare" in command:
            make = getattr(WORKLOADS[command["prepare"]], library, None)
            if make is None:
                answer = {"missing": True}
            else:
                call, result = make()
                answer = {"result": result()}
                call()
        elif "time" in command:
            n, spent = 0, 0.0
            start = time.perf_counter()
            while spent < command["time"] or n < 3:
                call()
                n += 1
                spent = time.perf_counter() - start
            answer = {"seconds": spent / n}
        else:
            from fastnn import _core
            import calibrate
            region, barrier = _core.run_costs(threads)
            answer = {"fma_gflops": calibrate.fma_peak(threads), "copy_gbs": calibrate.bandwidth(threads), "region_ns": region, "barrier_ns": barrier,
                      "isa": _core.get_isa(), "threading": _core.threading_kind()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
