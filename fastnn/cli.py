"""The commands: fastnn train, info, selftest, bench."""
import argparse
import sys

import fastnn
from fastnn import _core
from fastnn.train import command


# ---- info ------------------------------------------------------------------------------------------------------------

def add_info(parser):
    parser.add_argument("--quick", action="store_true", help="measure nothing")


def info(args):
    threads = _core.get_num_threads()
    kind = "OpenMP" if _core.threading_kind() == "openmp" else "plain threads (built without OpenMP)"
    rows = [("version", fastnn.__version__),
            ("instruction set", f"{_core.get_isa()} (this machine runs {', '.join(_core.isas())}; "
                                f"compiled in: {', '.join(_core.isas_compiled())})"),
            ("threads", f"{threads}, {kind}")]
    if not args.quick:
        from fastnn.bench.calibrate import Bandwidth
        region, barrier = _core.run_costs()
        rows += [("FMA peak", f"{_core.fma_peak():.1f} GFLOP/s float32 on one thread"),
                 ("bandwidth", f"{Bandwidth(256).measure(0.2):.1f} GB/s read and written, {threads} threads"),
                 ("parallel region", f"{region / 1000:.2f} us"), ("barrier", f"{barrier / 1000:.2f} us")]
    for name, value in rows:
        print(f"{name:<16} {value}")
    return 0


# ---- selftest --------------------------------------------------------------------------------------------------------

def selftest(args):
    from fastnn.selftest import run
    return 0 if run() else 1


# ---- bench -----------------------------------------------------------------------------------------------------------

def add_bench(parser):
    from fastnn.bench.harness import add_options
    add_options(parser)


def bench(args):
    from fastnn.bench import harness
    try:
        harness.main(args)
    except (harness.BenchError, ImportError) as error:
        raise command.Failure(f"bench: {error}") from None
    return 0


# ---- the table of commands -------------------------------------------------------------------------------------------

COMMANDS = {                             # name: (what it does, what adds its options, what runs it)
    "train": ("train a network on images, with checkpoints, a history and pictures", command.add_options,
              command.train),
    "bench": ("time training side by side with other libraries and with the machine's limits", add_bench, bench),
    "info": ("what this build and this machine are, measured", add_info, info),
    "selftest": ("check results of this installation against known ones", lambda parser: None, selftest),
}


def main(argv=None):
    """Run a command; returns the exit code: 0, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="fastnn", description="Train neural networks fast on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastnn {fastnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (help_, add, _) in COMMANDS.items():
        add(commands.add_parser(name, help=help_, description=help_))
    args = parser.parse_args(argv)
    try:
        return COMMANDS[args.command][2](args)
    except KeyboardInterrupt:
        return 130
    except command.Failure as error:
        print(f"fastnn {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"fastnn {args.command}: {error}", file=sys.stderr)
        return 1
