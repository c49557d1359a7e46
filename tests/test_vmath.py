"""csrc/vmath.h, through the operations made of it: errors within those its head states, special values, and tails that agree with bodies."""
import math
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
import fastnn.nn.functional as F
from check import same_bits
from fastnn import _core

HEAD = (Path(__file__).resolve().parent.parent / "csrc" / "vmath.h").read_text().split("*/")[0]
STATED = {name: (float(f32), float(f64)) for names, f32, f64 in re.findall(r"((?:v_\w+(?:, )?)+) +(\d\.\d) +(\d\.\d)", HEAD)
          for name in names.replace("v_", "").split(", ")}
EXACT = np.longdouble                                    # 64 bits of mantissa on x86; where it is no more than f64 its own error counts
SLACK = 0.01 if np.finfo(EXACT).nmant > 52 else 1.0
FLUSHED = ("tanh", "sigmoid", "expm1_neg", "exp2_neg", "softplus")   # run with denormals taken as zero


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def erf(x):
    """math.erf on the host: good to about one rounding of f64."""
    return np.array([math.erf(v) for v in x.astype(np.float64)], x.dtype)


def expm1_neg(x):
    """What elu makes of it: beyond its domain elu is x."""
    return np.where(x < 0, np.expm1(x), x)


def exp2_neg(x):
    return np.exp2(np.minimum(x, 0))


def attention_weights(x):
    """2^min(x, 0), as attention makes it of scores x and a row sum of 1: one query, whose gradients of v are its weights."""
    k = fastnn.minimum(x, fastnn.zeros_like(x))[:, None]
    one, none = fastnn.ones(1, 1, dtype=x.dtype), fastnn.zeros_like(k)
    saved = one, k, none, None, fastnn.zeros_like(one), fastnn.zeros(1, dtype=x.dtype), None
    return _core.attention_backward(one, saved, False, math.log(2), want_q=False, want_k=False)[2][:, 0]


MEANING = {"exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sigmoid": sigmoid, "erf": erf, "sin": np.sin, "cos": np.cos,
           "expm1_neg": expm1_neg, "exp2_neg": exp2_neg, "softplus": lambda x: np.logaddexp(0, x)}
RUN = {"expm1_neg": F.elu, "exp2_neg": attention_weights, "softplus": lambda x: F.softplus(x, threshold=math.inf)}


def run(name, x):
    return (RUN.get(name) or getattr(fastnn, name))(fastnn.from_numpy(x)).numpy()


def samples(dtype, name):
    """Every so many-th float of all there are, and evenly from several ranges."""
    rng, n = np.random.default_rng(0), 4000 if name == "erf" else 20000
    if dtype == np.float32:
        every = (np.arange(n, dtype=np.uint64) * (2 ** 32 // n - 7)).astype(np.uint32).view(dtype)
    else:
        every = rng.integers(0, 2 ** 64, n, dtype=np.uint64).view(dtype)
    ranges = [rng.uniform(-r, r, n).astype(dtype) for r in (1e-3, 0.5, 1, 6, 20, 100, 1000, 3000)]
    return np.concatenate([every[np.isfinite(every)], *ranges])


def ulps(got, want, dtype):
    """|got - want| in units of the last place of want."""
    place = np.maximum(np.frexp(np.abs(want))[1] - np.finfo(dtype).nmant - 1, np.finfo(dtype).minexp - np.finfo(dtype).nmant)
    return np.abs(got.astype(want.dtype) - want) / np.ldexp(np.ones_like(want), place)


def test_the_head_states_all():
    assert STATED.keys() == MEANING.keys()


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_normal_cdf(isa, dtype):
    """gelu(x) / x, the product rounded once more; math.erfc on the host is good to about one rounding of f64."""
    x = samples(dtype, "erf")
    x = x[np.abs(x) > 1e-30].astype(dtype)
    got = F.gelu(fastnn.from_numpy(x)).numpy().astype(EXACT) / x
    want = np.array([math.erfc(-v * math.sqrt(0.5)) / 2 for v in x.astype(np.float64)], EXACT)
    error = np.abs(got - want) / np.spacing(np.nextafter(dtype(1), dtype(0)))
    limit = float(re.search(r"v_normal_cdf.* within (\d\.\d) units", HEAD)[1]) + (0.5 if dtype == np.float32 else 1)
    assert error.max() <= limit, f"{float(x[error.argmax()]).hex()} is off by {error.max():.3f}, {limit} allowed"


@pytest.mark.parametrize("name", MEANING)
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_error(isa, name, dtype):
    x = samples(dtype, name)
    with np.errstate(all="ignore"):
        want = MEANING[name](x.astype(np.float64 if dtype == np.float32 else EXACT))
        rounded = want.astype(dtype)
    got, tiny = run(name, x), np.finfo(dtype).smallest_normal
    plain = np.isfinite(rounded) & np.isfinite(got) & (got != 0)
    assert np.array_equal(got[~plain & (got != 0)], rounded[~plain & (got != 0)], equal_nan=True)
    zeros = got == 0
    assert (np.abs(want[zeros]) < (tiny if name in FLUSHED else np.finfo(dtype).smallest_subnormal)).all()
    if name in FLUSHED:
        plain &= np.abs(want) >= tiny
    error = ulps(got[plain], want[plain], dtype)
    limit = STATED[name][dtype == np.float64] + (SLACK if name != "erf" else 0.5 if dtype == np.float64 else 0)
    assert error.max() <= limit, f"{name}({float(x[plain][error.argmax()]).hex()}) is off by {error.max():.3f} ulp, {limit} allowed"


@pytest.mark.parametrize("name", MEANING)
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_special_values(isa, name, dtype):
    f = np.finfo(dtype)
    x = np.array([0.0, -0.0, 1, -1, 2, -2, np.inf, -np.inf, np.nan, f.max, f.min, f.smallest_normal, -f.smallest_normal, f.smallest_subnormal,
                  -f.smallest_subnormal, f.eps, -f.eps, np.nextafter(dtype(1), dtype(0)), np.nextafter(dtype(-1), dtype(0)), 88.72283, 88.72284, -87.3, -103.9,
                  -104.1, 709.78, 709.79, -745.1, -745.2], dtype)
    with np.errstate(all="ignore"):
        want = MEANING[name](x.astype(np.float64 if dtype == np.float32 else EXACT)).astype(dtype)
    got = run(name, x)
    if name in FLUSHED:
        want[np.abs(want) < f.smallest_normal] = 0
        small = np.abs(x) < f.smallest_normal
        got[small], want[small] = np.abs(got[small]), np.abs(want[small])
    assert np.array_equal(np.isnan(got), np.isnan(want)) and np.array_equal(np.signbit(got[want == want]), np.signbit(want[want == want]))
    np.testing.assert_array_max_ulp(got[np.isfinite(want)], want[np.isfinite(want)], 3)
    assert np.array_equal(got[np.isinf(want)], want[np.isinf(want)])


@pytest.mark.parametrize("name", ("sin", "cos"))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_large_angles(isa, name, dtype):
    """Near multiples of pi/2, and where the parts of pi/2 end and libm begins."""
    n = np.arange(1, 2500)
    x = np.concatenate([(n * (math.pi / 2)).astype(dtype), np.nextafter((n * (math.pi / 2)).astype(dtype), dtype(0)),
                        np.linspace(3150, 3250, 301).astype(dtype), np.linspace(1.59e6, 1.61e6, 301).astype(dtype),
                        np.geomspace(1e7, 1e30, 97).astype(dtype)])
    want = np.array([getattr(math, name)(float(v)) for v in x], np.float64)
    error = ulps(run(name, x), want, dtype)
    limit = STATED[name][dtype == np.float64] + (0 if dtype == np.float32 else 0.6)
    assert error.max() <= limit, f"{name}({float(x[error.argmax()]).hex()}) is off by {error.max():.3f} ulp"


@pytest.mark.parametrize("name", MEANING)
def test_tail_and_body_agree(isa, name):
    """The bits of a value do not depend on its place in a vector or on its neighbours."""
    for dtype in (np.float32, np.float64):
        x = np.abs(np.random.default_rng(1).normal(0, 40, 67)).astype(dtype)
        x[::9] = np.array([0, np.nan, np.inf, 5e4, 1e7, 1e-42, 1e-5, 90])
        whole = run(name, x)
        for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33):
            for start in (0, 1, 5):
                same_bits(run(name, x[start:start + n]), whole[start:start + n], f"{name} of {n} from {start}")
