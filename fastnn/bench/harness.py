"""Every library in its own process, turn by turn; results are compared before they are timed, and a peer whose numbers are
its own is left out of the row.

A figure is the median over rounds, a ratio the median of the rounds' ratios, a share of the machine's peak the median
of the rounds' shares, each against the peak measured within that timing. Who is far behind sits the rest out.
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

import fastnn

from . import report
from .calibrate import least_seconds
from .workloads import FAMILY_OF, WORKLOADS

PEERS = {"torch": ("torch", "torch_cl", "torch_foreach"), "torch-compile": ("torch_compile",), "jax": ("jax",),
         "numpy": ("numpy",), "sklearn": ("sklearn",), "thinc": ("thinc",)}
DISTRIBUTIONS = {"torch": "torch", "torch-compile": "torch", "jax": "jax", "numpy": "numpy", "sklearn": "scikit-learn",
                 "thinc": "thinc"}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTNN_NUM_THREADS")
HOME = Path(fastnn.__file__).resolve().parent.parent
FAR = {1: 20, 3: 4}        # after so many rounds, who is so many times slower than our slowest need not show more


class BenchError(Exception):
    """Ends the benchmark: a wrong result, a library that broke down, an unknown name."""


class Worker:
    """A library's process."""

    def __init__(self, library, threads):
        path = os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = dict(os.environ, PYTHONPATH=path, **{v: str(threads) for v in THREAD_VARIABLES})
        if library == "jax":
            env["XLA_FLAGS"] = (f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} "
                                f"intra_op_parallelism_threads={threads}")
        self.library = library
        self.process = subprocess.Popen([sys.executable, "-m", "fastnn.bench.worker", library, str(threads)], env=env,
                                        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, **command):
        self.command = command
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass                                 # it ended; answer() says so

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"{self.library}: the worker ended with code {self.process.wait()} at {self.command}")
        return json.loads(line)

    def ask(self, **command):
        self.tell(**command)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def agree(name, results, tolerance):
    """Do all libraries give fastnn's numbers? Each is a list of groups, compared relative to a group's largest number.

    Raises:
        BenchError: they differ, or one is not a number.

    Example:
        >>> from fastnn.bench.harness import agree
        >>> agree("sum", {"fastnn": [[1.0, 2.0]], "numpy": [[1.0, 2.00001]]}, 1e-4)
    """
    expected = results["fastnn"]
    for library, found in results.items():
        if [len(g) for g in found] != [len(g) for g in expected]:
            raise BenchError(f"{name}: {library} gives {len(found)} results, fastnn {len(expected)}")
        for i, (a, b) in enumerate(zip(found, expected)):
            scale = max((abs(v) for v in b), default=0.0)
            if not all(abs(p - q) <= tolerance * scale for p, q in zip(a, b)):
                raise BenchError(f"{name}: {library} computes {a} as result {i}, fastnn {b}")


def wrong(name, results, tolerance):
    """{peer: what it computes} of those that differ from us, while another agrees with us.

    Raises:
        BenchError: our own forms differ, or nobody agrees with us.
    """
    found = {}
    for library in results:
        try:
            agree(name, {"fastnn": results["fastnn"], library: results[library]}, tolerance)
        except BenchError as error:
            if library.startswith("fastnn"):
                raise
            found[library] = f"other numbers than the rest. {error}"
    if found and len(found) == sum(not library.startswith("fastnn") for library in results):
        raise BenchError("; ".join(found.values()))
    return found


def processor():
    """The processor's name, as the system gives it."""
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def commit():
    done = subprocess.run(["git", "-C", str(HOME), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 and (HOME / "setup.py").exists() else None


def available(names):
    """({peer: version} of those that can be imported, {peer: why not} of the others)"""
    found, left_out = {}, {}
    for name in names:
        code = (f"import {name.split('-')[0]}; from importlib.metadata import version; "
                f"print(version('{DISTRIBUTIONS[name]}'))")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode == 0:
            found[name] = done.stdout.strip().splitlines()[-1]
        else:
            left_out[name] = next(iter(done.stderr.strip().splitlines()[-1:]), f"ended with code {done.returncode}")
    return found, left_out


def rounds_of(workers, rounds, seconds, small=False):
    """({library: seconds of a call in each round}, {library: limits in each round}), the workers taking turns."""
    times, limits = ({w.library: [] for w in workers} for _ in range(2))
    for done in range(rounds):
        ours = max((t for library, taken in times.items() if library.startswith("fastnn") for t in taken), default=0)
        for w in workers:
            if any(done >= n and min(times[w.library]) > far * ours for n, far in FAR.items()):
                continue
            answer = w.ask(time=seconds, limits=w.library.startswith("fastnn"), small=small)
            times[w.library].append(answer["seconds"])
            limits[w.library].append(answer["limits"])
    return times, limits


def measure(name, workers, rounds, seconds, small=False):
    """The row of one workload: prepare it side by side, check it, then let the workers take turns."""
    workload = WORKLOADS[name].small() if small else WORKLOADS[name]
    running, results, first, failed = [], {}, {}, {}
    for w in workers:
        w.tell(prepare=name, small=small)
    for w in workers:
        answer = w.answer()
        if "result" in answer:
            running.append(w)
            results[w.library], first[w.library] = answer["result"], answer["first_seconds"]
        elif "failed" in answer:
            failed[w.library] = answer["failed"]
    failed.update(wrong(name, results, workload.check))
    times, limits = rounds_of([w for w in running if w.library not in failed], rounds, seconds, small)
    form = "fastnn_captured" if "fastnn_captured" in times else "fastnn"
    median = {k: statistics.median(v) for k, v in times.items()}
    pairs = [*zip(times[form], limits[form])]
    shares = {"fma": [workload.flops / t / 1e9 / l["fma_gflops"] for t, l in pairs],
              "copy": [workload.bytes / t / 1e9 / l["copy_gbs"] for t, l in pairs],
              "limit": [least_seconds(workload.flops, workload.bytes, l)[0] / t for t, l in pairs]}
    share = {k: statistics.median(v) for k, v in shares.items() if any(v)}
    middle = {k: statistics.median(l[k] for l in limits[form]) for k in ("fma_gflops", "copy_gbs")}
    theirs = [library for library in times if not library.startswith("fastnn")]
    return {"workload": name, "family": FAMILY_OF[name], "flops": workload.flops, "bytes": workload.bytes, "form": form,
            "seconds": median, "best": {k: min(v) for k, v in times.items()}, "rounds": times, "first_seconds": first,
            "failed": failed,
            "gflops": workload.flops / median[form] / 1e9 or None, "gbs": workload.bytes / median[form] / 1e9 or None,
            "share_of_fma_peak": share.get("fma"), "share_of_bandwidth": share.get("copy"),
            "share_of_limit": share.get("limit"), "limit": least_seconds(workload.flops, workload.bytes, middle)[1],
            "round_limits": {k: [l[k] for l in limits[form]] for k in middle},
            "ratio": {f"{a}/{p}": statistics.median(y / x for x, y in zip(times[a], times[p]))
                      for a in ("fastnn", "fastnn_captured") if a in times for p in theirs}}


def run(peers, threads, names, rounds=5, seconds=0.05, small=False, say=print, left_out=None):
    """The report of a whole run: {'fastnn': version, ..., 'limits': {threads: ...}, 'rows': [...]}.

    Args:
        peers: {name: version}. threads: numbers. names: of workloads. small: the workloads' small twins, for tests.
        say: takes lines of the table as they become known. left_out: {peer: why}, kept with the report.
    """
    found = {"fastnn": fastnn.__version__, "commit": commit(), "peers": peers, "left_out": left_out or {},
             "machine": processor(), "cores": os.cpu_count(), "python": platform.python_version(), "rounds": rounds,
             "seconds": seconds, "limits": {}, "rows": []}
    libraries = ["fastnn", "fastnn_captured"] + [library for p in peers for library in PEERS[p]]
    libraries = [l for l in libraries if l == "fastnn" or any(WORKLOADS[name].form(l) for name in names)]
    columns = report.Columns(libraries)
    for number in threads:
        workers = []
        try:
            for library in libraries:
                workers.append(Worker(library, number))
            limits = found["limits"][str(number)] = workers[0].ask(machine=True, small=small)
            say(f"{report.limits_line(number, limits)}\n\n{columns.head()}")
            for name in names:
                row = {"threads": number, **measure(name, workers, rounds, seconds, small)}
                found["rows"].append(row)
                say(columns.row(row))
            say("")
        finally:
            for w in workers:
                w.close()
    return found


def _numbers(text):
    values = [int(t) for t in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text} holds a number below 1")
    return values


def _peers(text):
    names = [p for p in text.split(",") if p]
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(PEERS)}")
    return names


def _names(text):
    try:
        names = [name for name in WORKLOADS if re.search(text, name) or re.fullmatch(text, FAMILY_OF[name])]
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    if not names:
        raise argparse.ArgumentTypeError(f"{text} is in none of {', '.join(WORKLOADS)}")
    return names


def add_options(parser):
    add = parser.add_argument
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    add("--peers", type=_peers, default=",".join(PEERS), metavar="LIST", help="of torch (eager, contiguous and "
        "channels-last), torch-compile, jax, numpy, sklearn, thinc (default all, those that are installed)")
    add("--threads", type=_numbers, default=f"{cores},1" if cores > 1 else "1", metavar="LIST",
        help="default %(default)s")
    add("--only", type=_names, default="", metavar="REGEX", help="workloads whose name has it, or whose family it is")
    add("--rounds", type=int, default=5, metavar="N", help="turns of each library (default %(default)s); who is far behind takes fewer")
    add("--seconds", type=float, default=0.05, metavar="S", help="of a turn, at least (default %(default)s)")
    add("--load", metavar="FILE", help="run nothing, take the results of an earlier --json")
    add("--json", metavar="FILE", help="write the results")
    add("--markdown", metavar="FILE", help="write tables and summary")
    add("--plot", metavar="FILE", help="draw each family, the limit as a line: a file, or a folder of pictures "
        "(needs matplotlib)")
    add("--compare", metavar="FILE", help="show what changed since the results of an earlier --json")


def main(options):
    """Run what add_options' options say.

    Raises:
        BenchError: a wrong result, or a library that broke down.
    """
    say = lambda line: print(line, flush=True)
    if options.rounds < 1:
        raise BenchError(f"--rounds {options.rounds}: at least one is needed")
    for path in filter(None, (options.json, options.markdown, options.plot)):          # known before hours of work
        if not Path(path).resolve().parent.is_dir():
            raise BenchError(f"{path}: there is no such folder")
    if options.plot:
        import matplotlib  # noqa: F401
    earlier = json.loads(Path(options.compare).read_text()) if options.compare else None
    if options.load:
        found = json.loads(Path(options.load).read_text())
        say(report.tables(found))
    else:
        peers, left_out = available(options.peers)
        say(f"fastnn {fastnn.__version__}, {', '.join(f'{n} {v}' for n, v in peers.items())}, "
            f"Python {platform.python_version()}, {processor()}\n")
        found = run(peers, options.threads, options.only, options.rounds, options.seconds, say=say,
                    left_out=left_out)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    say(report.summary(found))
    say(report.absent(found))
    if options.markdown:
        Path(options.markdown).write_text(report.markdown(found))
    if earlier:
        say(report.changes(earlier, found))
    if options.plot:
        from .plot import plot
        plot(found, options.plot)
    return found
