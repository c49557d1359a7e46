"""Side by side: every library in its own process, turn by turn, with the limits of the machine measured in the same run.

    python benchmarks/run.py [--peers torch,jax,numpy] [--threads 2,1] [--only REGEX] [--rounds 9] [--seconds 0.1] [--json FILE]

A workload's result is compared across libraries before it is timed. A figure is the median over rounds; a ratio the median of the rounds' ratios.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

from workloads import WORKLOADS

HERE = Path(__file__).parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTNN_NUM_THREADS")


class Worker:
    """A library's process."""

    def __init__(self, library, threads):
        env = dict(os.environ, **{v: str(threads) for v in THREAD_VARIABLES})
        if library == "jax":
            env["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
        self.library = library
        self.process = subprocess.Popen([sys.executable, str(HERE / "worker.py"), library, str(threads)], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.library}: the worker ended with code {self.process.wait()} at {command}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def machine():
    """The processor's name, as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        return re.search(r"model name\s*: (.*)", text)[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def commit():
    done = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def available(names):
    found = []
    for name in names:
        done = subprocess.run([sys.executable, "-c", f"import {name}; print({name}.__version__)"], capture_output=True, text=True)
        if done.returncode == 0:
            found.append((name, done.stdout.strip().splitlines()[-1]))
        else:
            print(f"{name}: not installed, left out", file=sys.stderr)
    return found


def compare(threads, peers, only, rounds, seconds):
    """The rows for one thread count."""
    ours = Worker("fastnn", threads)
    limits = ours.ask(calibrate=True)
    workers = [ours, Worker("fastnn_captured", threads)] + [Worker(p, threads) for p, _ in peers]
    rows = []
    for name, workload in WORKLOADS.items():
        if only and not re.search(only, name):
            continue
        running, results = [], {}
        for w in workers:
            answer = w.ask(prepare=name)
            if "result" in answer:
                running.append(w)
                results[w.library] = answer["result"]
        reference = results["fastnn"]
        for library, value in results.items():
            if abs(value - reference) > workload.check * max(abs(reference), 1e-6):
                raise SystemExit(f"{name}: {library} computes {value}, fastnn {reference}")
        for w in running:
            w.ask(time=seconds)
        times = {w.library: [] for w in running}
        for _ in range(rounds):
            for w in running:
                times[w.library].append(w.ask(time=seconds)["seconds"])
        median = {k: statistics.median(v) for k, v in times.items()}
        form = "fastnn_captured" if "fastnn_captured" in times else "fastnn"
        row = {"workload": name, "threads": threads, "seconds": median, "best": {k: min(v) for k, v in times.items()},
               "gflops": workload.flops / median[form] / 1e9 if workload.flops else None,
               "gbs": workload.bytes / median[form] / 1e9 if workload.bytes else None,
               "ratio": {f"{a}/{p}": statistics.median(y / x for x, y in zip(times[a], times[p]))
                         for a in ("fastnn", "fastnn_captured") if a in times for p, _ in peers if p in times}}
        row["share_of_fma_peak"] = row["gflops"] / limits["fma_gflops"] if row["gflops"] else None
        rows.append(row)
        print(table_row(row), flush=True)
    for w in workers:
        w.close()
    return limits, rows


def table_row(row):
    def us(library):
        s = row["seconds"].get(library)
        return "" if s is None else f"{s * 1e6:,.1f}" if s < 1e-3 else f"{s * 1e6:,.0f}"
    ratios = ", ".join(f"{k.split('/')[1]} {v:.1f}x" for k, v in row["ratio"].items() if k.startswith("fastnn_captured/"))
    eager = ", ".join(f"{k.split('/')[1]} {v:.1f}x" for k, v in row["ratio"].items() if k.startswith("fastnn/"))
    share = f"{row['share_of_fma_peak']:.0%}" if row["share_of_fma_peak"] else ""
    return (f"| {row['workload']} | {row['threads']} | {us('fastnn')} | {us('fastnn_captured')} | {us('torch')} | {us('jax')} | {us('numpy')} | {share} | "
            f"{eager} | {ratios} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", default="torch,jax,numpy")
    parser.add_argument("--threads", default=f"{os.cpu_count()},1")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    peers = available([p for p in options.peers.split(",") if p])
    import fastnn
    print(f"fastnn {fastnn.__version__} ({commit()}), " + ", ".join(f"{n} {v}" for n, v in peers) + f", Python {platform.python_version()}, {machine()}\n")
    report = {"fastnn": fastnn.__version__, "commit": commit(), "peers": dict(peers), "machine": machine(), "python": platform.python_version(),
              "command": " ".join(sys.argv[1:]), "limits": {}, "rows": []}
    print("| workload | threads | fastnn eager us | fastnn captured us | torch us | jax us | numpy us | share of FMA peak | eager is faster than | captured is faster than |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for threads in [int(t) for t in options.threads.split(",")]:
        limits, rows = compare(threads, peers, options.only, options.rounds, options.seconds)
        report["limits"][threads] = limits
        report["rows"] += rows
    print()
    for threads, l in report["limits"].items():
        print(f"{threads} threads: FMA peak {l['fma_gflops']:.0f} GFLOP/s, copy {l['copy_gbs']:.1f} GB/s, region {l['region_ns']:.0f} ns, barrier "
              f"{l['barrier_ns']:.0f} ns, {l['isa']}, {l['threading']}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
