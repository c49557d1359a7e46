"""Memory of a workload in each library: `python -m fastnn.bench.memory [NAME] [--libraries ...] [--threads N] [--calls N] [--json FILE]`.

Each library runs in a process of its own. Figures are bytes of resident memory beyond what the process had after importing the library:
    peak        the highest, from there on: making the workload, its first calls (in captured steps: the recordings), and the rest
    steady      the highest during the later calls alone, where the system can tell
and for fastnn:
    pool, arena what the general pool holds, and what the captured program holds (activations, gradients on the way, scratch)
"""
import argparse
import json
import os
import subprocess
import sys

import fastnn

from . import harness

LIBRARIES = ("fastnn", "fastnn_captured", "torch", "torch_cl")
WORKLOAD = "resnet20 32x32 b128 sgd-m"
FIRST = 4                                # calls in which memory finds its form


def _status(key):
    """Bytes of a line of Linux's account of this process; None elsewhere."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(key + ":"))
    except (OSError, StopIteration):
        return None


def resident():
    """Bytes of this process in memory; where the system does not tell, the highest so far."""
    return _status("VmRSS") or highest()


def highest():
    """The highest since the start or since `forget`."""
    if (found := _status("VmHWM")) is not None:
        return found
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget():
    """Let `highest` begin anew; False where the system cannot."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def measure(library, name, calls=8):
    """The figures of a workload in this process, which should be fresh.

    Example:
        >>> from fastnn.bench import memory
        >>> found = memory.measure("fastnn_captured", "mlp-tiny 16-32-32-4 b32 adam")
        >>> found["arena"] > 0 and found["peak"] >= 0
        True
    """
    from .workloads import WORKLOADS
    form = WORKLOADS[name].form(library)
    if form is None:
        return None
    if not library.startswith("fastnn"):
        import torch
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    plain, captured = fastnn.capture, []
    fastnn.capture = lambda step: captured.append(plain(step)) or captured[-1]
    try:
        forget()
        before = resident()
        call, _ = form()
    finally:
        fastnn.capture = plain
    for _ in range(min(FIRST, calls)):
        call()
    found = {"library": library, "peak": highest() - before}
    if forget():
        for _ in range(calls - FIRST):
            call()
        found["steady"] = highest() - before
        found["peak"] = max(found["peak"], found["steady"])
    if library.startswith("fastnn"):
        found["pool"] = fastnn._core.memory_info()["in_use"]
        found["arena"] = sum(step.info()["arena_bytes"] for step in captured)
    return found


def compare(name=WORKLOAD, libraries=LIBRARIES, threads=1, calls=8):
    """measure's figures of each library, each in a process of its own.

    Raises:
        BenchError: a process failed.
    """
    rows = []
    path = os.pathsep.join([str(harness.HOME), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = dict(os.environ, PYTHONPATH=path, **{v: str(threads) for v in harness.THREAD_VARIABLES})
    for library in libraries:
        command = [sys.executable, "-m", "fastnn.bench.memory", name, "--measure", library, "--calls", str(calls)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise harness.BenchError(f"{library}: the process ended with code {done.returncode}")
        rows.append(json.loads(done.stdout))
    return [row for row in rows if row]


def table(rows):
    """The figures as lines of text, in MiB."""
    lines = [f"{'MiB':<18}" + "".join(f"{key:>10}" for key in ("peak", "steady", "pool", "arena"))]
    for row in rows:
        cells = (f"{row[key] / (1 << 20):10.1f}" if key in row else " " * 10 for key in ("peak", "steady", "pool", "arena"))
        lines.append(f"{row['library']:<18}" + "".join(cells).rstrip())
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m fastnn.bench.memory", description="Memory of a workload in each library.")
    parser.add_argument("name", nargs="?", default=WORKLOAD, help=f"of a workload (default {WORKLOAD!r})")
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="default %(default)s")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=8, help="default %(default)s")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--measure", metavar="LIBRARY", help="in this process; prints JSON")
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure, args.name, args.calls)))
        return
    rows = compare(args.name, args.libraries.split(","), args.threads, args.calls)
    print(table(rows))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
