"""csrc/random.c and fastnn.ops.random: Philox numbers against their meaning, their distributions, and what the functions promise."""
import numpy as np
import pytest

import fastnn
import ref
from check import check_op, compare, machine, same_bits
from fastnn import _core

SEED, DRAW = 0x123456789ABCDEF0, 0xFEDCBA9876543210
BITS = {"float32": 32, "float64": 64}
N = 100


def start():
    fastnn.default_generator.set_state((SEED, DRAW))


def drawn(make):
    start()
    return make()


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("n", (1, 2, 17, 100))
def test_reals(dtype, n):
    bits, x = BITS[dtype], np.linspace(0, 1, n)
    options = dict(dtypes=(dtype,), layouts=("contiguous", "transposed"), before=start)
    check_op(fastnn.rand_like, lambda x: ref.uniform(n, SEED, DRAW, bits=bits), x, op="uniform", tol=0, **options)
    check_op(fastnn.randn_like, lambda x: ref.normal(n, SEED, DRAW, bits=bits), x, op="normal", bound=lambda x: 7 + 0 * x, **options)
    check_op(fastnn.bernoulli, lambda p: ref.bernoulli(n, SEED, DRAW, p), x, op="bernoulli", **options)


@pytest.mark.parametrize("dtype", ("float32", "float64", "int64", "int32", "uint8", "bool"))
def test_integers(dtype, isa):
    kind = getattr(fastnn, dtype)
    for p in (0, 0.3, 1):
        compare(drawn(lambda: fastnn.empty(N, dtype=kind).bernoulli_(p)), ref.bernoulli(N, SEED, DRAW, p), dtype)
    low, high = (0, 2) if dtype == "bool" else (3, 17)
    compare(drawn(lambda: fastnn.randint(low, high, (N,), dtype=kind)), ref.randint(N, SEED, DRAW, low, high), dtype)
    if dtype != "bool":
        compare(drawn(lambda: fastnn.randperm(N, dtype=kind)), ref.randperm(N, SEED, DRAW), dtype)


def test_known_answer(isa):
    """The first vector that Random123 publishes for philox4x32-10, key and counter zero: the whole range but one of int64 shows the bits."""
    fastnn.manual_seed(0)
    y = fastnn.randint(-2**63, 2**63 - 1, (2,))
    assert [f"{v + 2**63 + 1:016x}" for v in y.tolist()] == ["e169c58d6627e8d5", "9b00dbd8bc57ac4c"]


def each_draw():
    yield "uniform", lambda n: fastnn.rand(n)
    yield "uniform double", lambda n: fastnn.rand(n, dtype=fastnn.float64)
    yield "normal", lambda n: fastnn.randn(n)
    yield "normal double", lambda n: fastnn.randn(n, dtype=fastnn.float64)
    yield "bernoulli", lambda n: fastnn.empty(n).bernoulli_(0.4)
    yield "bernoulli array", lambda n: fastnn.bernoulli(fastnn.linspace(0, 0.999, 100000)[:n])
    yield "randint", lambda n: fastnn.randint(10, (n,))
    yield "randint bytes", lambda n: fastnn.randint(10, (n,), dtype=fastnn.uint8)


@pytest.mark.parametrize("name, make", list(each_draw()), ids=lambda v: v if isinstance(v, str) else "")
def test_an_element_depends_on_its_number_alone(name, make, isa):
    with machine(isa, 1):
        whole = drawn(lambda: make(100000)).numpy()
        for n in (0, 1, 5, 6, 15, 16, 17, 33, 64, 1001):
            same_bits(drawn(lambda: make(n)), whole[:n], name)
    for threads in (2, 3, 7):
        with machine(isa, threads):
            same_bits(drawn(lambda: make(100000)), whole, f"{name}, {threads} threads")


def test_integers_and_uniforms_are_the_same_on_every_instruction_set():
    results = []
    for isa in _core.isas():
        with machine(isa):
            start()
            results.append((fastnn.rand(1001), fastnn.rand(1001, dtype=fastnn.float64), fastnn.randint(1000, (1001,)), fastnn.randperm(1001),
                            fastnn.empty(1001).bernoulli_(0.3)))
    for other in results[1:]:
        same_bits(results[0], other)


def test_every_call_takes_one_count():
    calls = (lambda: fastnn.rand(3), lambda: fastnn.randn(0), lambda: fastnn.randint(5, (100000,)), lambda: fastnn.randperm(3),
             lambda: fastnn.empty(2).normal_(), lambda: fastnn.dropout(fastnn.ones(4), 0.5))
    for i, call in enumerate(calls):
        start()
        call()
        assert fastnn.default_generator.get_state() == (SEED, (DRAW + 1) % 2**64), i
    generator = fastnn.Generator().manual_seed(5)
    start()
    fastnn.rand(3, generator=generator)
    assert generator.get_state() == (5, 1) and fastnn.default_generator.get_state() == (SEED, DRAW)


# ---- distributions ---------------------------------------------------------------------------------------------------

def chi2(counts, expected):
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("dtype", BITS)
def test_uniform_distribution(dtype, isa):
    fastnn.manual_seed(1)
    n = 200000
    x = fastnn.rand(n, dtype=getattr(fastnn, dtype)).numpy().astype(np.float64)
    assert x.min() >= 0 and x.max() < 1
    assert chi2(np.histogram(x, 100, (0, 1))[0], n / 100) < 160                  # 99 degrees of freedom: 160 is beyond 1e-4
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize("dtype", BITS)
def test_normal_distribution(dtype, isa):
    fastnn.manual_seed(2)
    n = 200000
    x = fastnn.randn(n, dtype=getattr(fastnn, dtype)).numpy().astype(np.float64)
    for power, want, deviation in ((1, 0, 1), (2, 1, 2 ** 0.5), (3, 0, 15 ** 0.5), (4, 3, 96 ** 0.5)):
        assert abs((x ** power).mean() - want) < 4 * deviation / np.sqrt(n), power
    for a, b in ((x[::2], x[1::2]), (x[:-1], x[1:]), (x[::2] ** 2, x[1::2] ** 2)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))
    assert 0.0020 < (abs(x) > 3).mean() < 0.0034                                 # 0.0027
    assert 4 < abs(x).max() < 7


def test_integer_distributions(isa):
    fastnn.manual_seed(3)
    x = fastnn.randint(-3, 7, (100000,)).numpy()
    assert chi2(np.bincount(x + 3, minlength=10), 10000) < 34                    # 9 degrees of freedom
    first = np.array([fastnn.randperm(5).tolist() for _ in range(5000)])
    for column in first.T:
        assert chi2(np.bincount(column, minlength=5), 1000) < 24                 # 4 degrees of freedom
    assert abs(fastnn.empty(100000).bernoulli_(0.3).mean().item() - 0.3) < 0.006


def test_draws_and_seeds_differ():
    fastnn.manual_seed(1)
    a, b = fastnn.rand(1000), fastnn.rand(1000)
    fastnn.manual_seed(2)
    c = fastnn.rand(1000)
    for x, y in ((a, b), (a, c), (b, c)):
        assert abs(np.corrcoef(x.numpy(), y.numpy())[0, 1]) < 0.13


@pytest.mark.parametrize("dtype", BITS)
def test_the_end_of_a_range_is_never_drawn(dtype, isa):
    kind = getattr(fastnn, dtype)
    ulp = float(np.finfo(dtype).eps)
    x = fastnn.empty(10000, dtype=kind)
    x.uniform_(1, 1 + 4 * ulp)
    assert sorted(set(((x - 1) / ulp).tolist())) == [0, 1, 2, 3]
    assert x.uniform_(1e8, 1e8 + 16).max().item() < 1e8 + 16
    assert (x.uniform_(2.5, 2.5) == 2.5).all() and (x.uniform_(-1, 0) < 0).all()
    assert not fastnn.empty(10000).bernoulli_(0).any() and fastnn.empty(10000).bernoulli_(1).all()
    assert fastnn.bernoulli(fastnn.ones(10000, dtype=kind)).all() and not fastnn.bernoulli(fastnn.zeros(10000, dtype=kind)).any()


# ---- the functions ---------------------------------------------------------------------------------------------------

def test_shapes_and_types():
    assert fastnn.rand(2, 3).shape == fastnn.rand((2, 3)).shape == fastnn.rand([2, 3]).shape == (2, 3)
    assert fastnn.randn(()).shape == fastnn.rand(()).shape == ()
    assert fastnn.rand(2, requires_grad=True).requires_grad and fastnn.randn(2, device="cpu").dtype == fastnn.float32
    assert fastnn.randint(5, (2, 2)).dtype == fastnn.randperm(3).dtype == fastnn.int64
    assert fastnn.randint(low=2, high=3, size=(2,)).tolist() == fastnn.randint(2, 3, size=(2,)).tolist() == [2, 2]
    assert fastnn.randint(0, 2, (3,), dtype=fastnn.float64).dtype == fastnn.float64
    assert fastnn.randint(0, 2, (50,), dtype=fastnn.bool).dtype == fastnn.bool
    assert fastnn.randint_like(fastnn.zeros(2, 3), 4).dtype == fastnn.float32
    assert fastnn.normal(0, 1, (2, 3)).shape == fastnn.normal(fastnn.zeros(2, 1), fastnn.ones(3)).shape == (2, 3)
    assert fastnn.randperm(0).tolist() == [] and fastnn.randperm(1).tolist() == [0]
    fastnn.set_default_dtype(fastnn.float64)
    assert fastnn.rand(1).dtype == fastnn.float64


def test_normal_of_tensors():
    x = fastnn.normal(fastnn.tensor([0.0, 100.0]), fastnn.tensor([1e-3, 1e-3]))
    assert abs(x.numpy() - [0, 100]).max() < 0.01
    assert abs(fastnn.normal(fastnn.full((10000,), 5.0), 2.0).std().item() - 2) < 0.1
    assert (fastnn.normal(7.0, fastnn.zeros(3)) == 7).all()


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial(replacement):
    fastnn.manual_seed(0)
    w = fastnn.tensor([[1.0, 0.0, 3.0, 4.0], [0.0, 5.0, 0.0, 5.0]])
    first = np.concatenate([fastnn.multinomial(w.repeat(500, 1), 2, replacement).numpy().reshape(500, 2, 2)[..., :1] for _ in range(8)])[..., 0]
    for row, probability in zip(first.T, (w / w.sum(1, keepdim=True)).numpy()):
        share = np.bincount(row, minlength=4) / len(row)
        assert abs(share - probability).max() < 0.04 and (share[probability == 0] == 0).all()
    if not replacement:
        assert sorted(fastnn.multinomial(fastnn.ones(6), 6).tolist()) == list(range(6))


ERRORS = [
    (lambda: fastnn.randint(5, 5, (2,)), RuntimeError, "from=5 >= to=5"),
    (lambda: fastnn.randint(0, 300, (2,), dtype=fastnn.uint8), RuntimeError, "out of bounds"),
    (lambda: fastnn.randperm(-1), RuntimeError, "non-negative"), (lambda: fastnn.randperm(300, dtype=fastnn.uint8), RuntimeError, "too large"),
    (lambda: fastnn.zeros(2).uniform_(1, 0), RuntimeError, "from=1.0 > to=0.0"), (lambda: fastnn.zeros(2).uniform_(0, float("nan")), RuntimeError, "from"),
    (lambda: fastnn.zeros(2).uniform_(-3e38, 3e38), RuntimeError, "to-from"), (lambda: fastnn.zeros(2).normal_(0, -1), RuntimeError, "std -1"),
    (lambda: fastnn.zeros(2).bernoulli_(1.5), RuntimeError, "p=1.5"), (lambda: fastnn.bernoulli(fastnn.tensor([0.5, 2.0])), RuntimeError, "p_in"),
    (lambda: fastnn.bernoulli(fastnn.tensor([float("nan")])), RuntimeError, "p_in"), (lambda: fastnn.bernoulli(fastnn.ones(2).long()), RuntimeError, "int64"),
    (lambda: fastnn.rand(2, dtype=fastnn.int64), NotImplementedError, "uniform.*int64"), (lambda: fastnn.rand(-1), RuntimeError, "-1"),
    (lambda: fastnn.normal(0, 1), TypeError, "size"), (lambda: fastnn.normal(0, fastnn.tensor([-1.0])), RuntimeError, "std >= 0"),
    (lambda: fastnn.rand(2, generator=3), TypeError, "Generator"), (lambda: fastnn.manual_seed(2**64), RuntimeError, "64 bits"),
    (lambda: fastnn.zeros(2).uniform_(top=1), TypeError, "top"), (lambda: fastnn.randint(3), TypeError, "high"),
    (lambda: fastnn.multinomial(fastnn.ones(3), 4), RuntimeError, "n_sample=4"),
    (lambda: fastnn.multinomial(fastnn.tensor([1.0, -1.0]), 1), RuntimeError, "< 0"),
    (lambda: fastnn.rand(2, requires_grad=True).uniform_(), RuntimeError, "leaf Variable"),
]


@pytest.mark.parametrize("call, error, message", ERRORS)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_seeds():
    assert fastnn.manual_seed(7) is fastnn.default_generator and fastnn.initial_seed() == 7
    a = fastnn.rand(5)
    state = fastnn.default_generator.get_state()
    b = fastnn.rand(5)
    fastnn.default_generator.set_state(state)
    same_bits(fastnn.rand(5), b)
    fastnn.manual_seed(7)
    same_bits(fastnn.rand(5), a)
    assert fastnn.seed() == fastnn.initial_seed() != fastnn.seed()
    fastnn.manual_seed(-1)
    assert fastnn.initial_seed() == 2**64 - 1


@pytest.mark.parametrize("fill", [lambda t: t.uniform_(), lambda t: t.normal_(), lambda t: t.bernoulli_(0.5), lambda t: t.random_(),
                                  lambda t: t.bernoulli_(fastnn.tensor([[0.2], [0.5], [0.9]]))])
def test_in_place_on_any_strides(fill):
    """Views take the numbers that a row-major tensor of their shape would, and nothing beside them is written."""
    start()
    want = fill(fastnn.zeros(3, 4))
    base = fastnn.full((4, 9), -1.0)
    view = base[:, 1:7:2].t()
    start()
    assert fill(view) is view
    same_bits(view.contiguous(), want)
    assert (base[:, ::2] == -1).all() and (base[:, 7:] == -1).all()


def test_random_():
    for kind in (fastnn.float32, fastnn.float64, fastnn.int64, fastnn.int32, fastnn.uint8, fastnn.bool):
        x = fastnn.zeros(100, dtype=kind).random_()
        assert (x >= 0).all() and len(set(x.tolist())) > (1 if kind == fastnn.bool else 60)
    assert set(fastnn.zeros(200).random_(3).tolist()) == {0, 1, 2} and set(fastnn.zeros(200).random_(5, 7).tolist()) == {5, 6}
    assert set(fastnn.zeros(200).uniform_(to=0.0, **{"from": -1.0}).lt(0).tolist()) == {True}


def test_gradients_end_at_a_draw():
    x = fastnn.ones(3, requires_grad=True)
    y = x * 2
    y.uniform_()
    (y + x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]
    p = fastnn.full((3,), 0.5, requires_grad=True)
    fastnn.bernoulli(p).sum().backward()
    assert p.grad.tolist() == [0, 0, 0]


def test_captured_draws_are_eagers():
    def step(x):
        return fastnn.rand(3), fastnn.randn(3) * x, fastnn.randint(10, (3,)), fastnn.randperm(5), fastnn.bernoulli(x)
    x = fastnn.full((3,), 0.5)
    runs = []
    for f in (step, fastnn.capture(step)):
        start()
        runs.append([f(x) for _ in range(6)])
        assert fastnn.default_generator.get_state()[1] == (DRAW + 30) % 2**64
    for a, b in zip(*runs):
        same_bits(a, b)
    assert len({tuple(r[0].tolist()) for r in runs[1]}) == 6
