"""The same workloads under pytest-benchmark: `make bench`, or `python -m pytest benchmarks --benchmark-enable`.

`--benchmark-json FILE` has, for each, FLOPs, bytes and the share of min(FMA peak, copy speed * flops / byte), with the peak
and the copy speed measured in that run, in extra_info.
"""
import pytest

import fastnn
from fastnn import _core
from fastnn.bench.calibrate import Bandwidth, least_seconds
from fastnn.bench.workloads import FAMILY_OF, WORKLOADS


@pytest.fixture(scope="session")
def bandwidth():
    return Bandwidth()


@pytest.mark.parametrize("library", ["fastnn", "fastnn_captured"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload(benchmark, bandwidth, name, library):
    work = WORKLOADS[name]
    make = work.form(library)
    if make is None:
        pytest.skip(f"{name} has no {library} form")
    if benchmark.disabled:
        work = work.small()
        make = work.form(library)
    call, result = make()
    result()
    benchmark.group = FAMILY_OF[name]
    benchmark.extra_info.update(flops=work.flops, bytes=work.bytes, threads=fastnn.get_num_threads())
    benchmark(call)
    if benchmark.stats:
        limits = {"fma_gflops": _core.fma_peak(0.01, fastnn.get_num_threads()), "copy_gbs": bandwidth.measure(0.02)}
        least, which = least_seconds(work.flops, work.bytes, limits)
        benchmark.extra_info.update(limits, limit=which, share_of_limit=least / benchmark.stats.stats.median)
