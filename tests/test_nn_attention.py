"""nn/attention.py: MultiheadAttention, against PyTorch and by itself."""
import numpy as np
import pytest

import fastnn
from fastnn import nn

E, H = 12, 3


def pair(torch, **options):
    """The layer here and there, with the same float64 parameters, biases too."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(E, H, dtype=torch.float64, **options)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    ours = nn.MultiheadAttention(E, H, dtype=fastnn.float64, **options)
    assert ours.load_state_dict({k: fastnn.tensor(v.numpy()) for k, v in theirs.state_dict().items()}).missing_keys == []
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return ours, theirs


def same(ours, theirs, what=""):
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None), what
        if a is not None:
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11, err_msg=what)


def inputs(kind, batch_first, rng, kdim=E, vdim=E):
    """query, key and value, the same object where they are the same."""
    L, S, N = 5, 5 if kind == "self" else 7, 2

    def rows(n, width):
        return rng.standard_normal((n, width) if kind == "alone" else (N, n, width) if batch_first else (n, N, width))
    q = rows(L, E)
    if kind == "self":
        return q, q, q
    k = rows(S, kdim)
    return q, k, k if kind == "memory" else rows(S, vdim)


def run(lib, m, arrays, dy, **call):
    """y, weights, and the gradients of the inputs and of the parameters."""
    leaves = {}
    for a in arrays:
        leaves.setdefault(id(a), lib.from_numpy(a.copy()).requires_grad_())
    call = {k: lib.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    m.zero_grad()
    y, weights = m(*(leaves[id(a)] for a in arrays), **call)
    loss = (y * lib.from_numpy(dy)).sum()
    (loss if weights is None else loss + (weights * weights).sum()).backward()
    return [y, weights, *(x.grad for x in leaves.values()), *(p.grad for p in m.parameters())]


def masks(form, kind, rng):
    L, S, N = 5, 5 if kind == "self" else 7, 2
    padding = np.zeros((N, S), bool)
    padding[0, -2:] = padding[1, 0] = True
    padding = padding[0] if kind == "alone" else padding
    causal = ~np.tri(L, S, dtype=bool)
    each = rng.standard_normal(((1 if kind == "alone" else N) * H, L, S))
    return {"none": {}, "padding": {"key_padding_mask": padding}, "causal": {"attn_mask": causal}, "added": {"attn_mask": rng.standard_normal((L, S))},
            "each": {"attn_mask": each}, "both": {"attn_mask": causal[:, ::-1].copy() & ~np.eye(L, S, dtype=bool), "key_padding_mask": padding},
            "mixed": {"attn_mask": each, "key_padding_mask": np.where(padding, -3.0, 0)},
            "hint": {"attn_mask": causal, "is_causal": True},
            "hint and padding": {"attn_mask": causal, "is_causal": True, "key_padding_mask": padding & False}}[form]


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["self", "memory", "cross", "alone"])
def test_as_pytorch(torch, kind, batch_first, need_weights):
    ours, theirs = pair(torch, batch_first=batch_first)
    rng = np.random.default_rng(0)
    for form in ("none", "padding", "causal", "added", "each", "both", "mixed", "hint", "hint and padding"):
        arrays, call = inputs(kind, batch_first, rng), masks(form, kind, rng)
        for average in (True, False)[:1 + (need_weights and form == "both")]:
            said = {**call, "need_weights": need_weights, "average_attn_weights": average}
            dy = rng.standard_normal(arrays[0].shape)
            same(run(fastnn, ours, arrays, dy, **said), run(torch, theirs, arrays, dy, **said), f"{kind} {form}")


@pytest.mark.parametrize("options", [{"bias": False}, {"kdim": 5, "vdim": 9}, {"kdim": 5}, {"vdim": 4, "bias": False, "batch_first": True}], ids=str)
def test_other_sizes_as_pytorch(torch, options):
    ours, theirs = pair(torch, **options)
    rng = np.random.default_rng(1)
    for kind in ("cross", "alone") if "vdim" in options or "kdim" in options else ("self", "memory"):
        arrays = inputs(kind, options.get("batch_first"), rng, options.get("kdim", E), options.get("vdim", E))
        dy = rng.standard_normal(arrays[0].shape)
        for need in (False, True):
            same(run(fastnn, ours, arrays, dy, need_weights=need), run(torch, theirs, arrays, dy, need_weights=need))


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_mask_that_learns(torch, batch_first):
    ours, theirs = pair(torch, batch_first=batch_first)
    rng = np.random.default_rng(2)
    (x, *_), mask, found = inputs("self", batch_first, rng), rng.standard_normal((5, 5)), []
    for lib, m in ((fastnn, ours), (torch, theirs)):
        a = lib.from_numpy(mask.copy()).requires_grad_()
        t = lib.from_numpy(x)
        m(t, t, t, attn_mask=a, need_weights=False)[0].pow(2).sum().backward()
        found.append([a.grad, m.in_proj_weight.grad])
    same(*found)


@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_gives_the_bits_of_its_parts(batch_first):
    """Self-attention runs over one projection, with one gradient; the same values through the general road are close, and replays are equal."""
    m = nn.MultiheadAttention(32, 4, batch_first=batch_first)
    x, dy = fastnn.randn(3, 70, 32), fastnn.randn(3, 70, 32)

    def step(x, dy):
        m.zero_grad()
        y, _ = m(x, x, x, need_weights=False)
        y.backward(dy)
        return y
    eager = step(x, dy), [p.grad.clone() for p in m.parameters()]
    captured = fastnn.capture(step)
    for _ in range(4):
        assert (captured(x, dy) == eager[0]).all() and all((p.grad == g).all() for p, g in zip(m.parameters(), eager[1]))
    assert captured.replays
    y, _ = m(x, x.clone(), x, need_weights=False)
    np.testing.assert_allclose(y.detach().numpy(), eager[0].detach().numpy(), rtol=1e-4, atol=1e-5)


def test_dropout_in_training_alone():
    m = nn.MultiheadAttention(E, H, dropout=0.5)
    x = fastnn.randn(6, 2, E)
    for need in (True, False):
        fastnn.manual_seed(0)
        a, b = m(x, x, x, need_weights=need)[0], m(x, x, x, need_weights=need)[0]
        fastnn.manual_seed(0)
        assert not (a == b).all() and (m(x, x, x, need_weights=need)[0] == a).all()
    m.eval()
    assert (m(x, x, x)[0] == m(x, x, x)[0]).all()


def test_start_values():
    m = nn.MultiheadAttention(64, 4)
    bound = (6 / (64 + 3 * 64)) ** 0.5
    w = m.in_proj_weight.detach().numpy()
    assert bound * 0.99 < np.abs(w).max() <= bound and (m.in_proj_bias == 0).all() and (m.out_proj.bias == 0).all()
    m = nn.MultiheadAttention(64, 4, kdim=10)
    assert m.in_proj_weight is None and np.abs(m.k_proj_weight.detach().numpy()).max() <= (6 / 74) ** 0.5


@pytest.mark.parametrize("make, call, error, said", [
    ((0, 1), None, ValueError, "embed_dim and num_heads must be greater than 0, got embed_dim=0"),
    ((10, 3), None, ValueError, "embed_dim must be divisible by num_heads.*embed_dim=10, num_heads=3"),
    ((12, 3), ((2, 3, 4, 12),) * 3, RuntimeError, "2D or batched 3D tensor but received 4-D"),
    ((12, 3), ((2, 3, 12), (3, 12), (3, 12)), RuntimeError, "expected key and value to be 3-D"),
    ((12, 3), ((4, 2, 12), (5, 2, 11), (5, 2, 12)), RuntimeError, r"key \(5, 2, 11\).*key has 11 features, the layer was made for 12"),
    ((12, 3), ((4, 2, 12), (5, 3, 12), (5, 3, 12)), RuntimeError, r"batches \(2, 3, 3\) must be equal"),
    ((12, 3), ((4, 2, 12), (5, 2, 12), (6, 2, 12)), RuntimeError, r"lengths of key and value \(5, 6\)")])
def test_what_does_not_fit(make, call, error, said):
    with pytest.raises(error, match=said):
        nn.MultiheadAttention(*make)(*(fastnn.zeros(*s) for s in call))


def test_masks_that_do_not_fit():
    m, x = nn.MultiheadAttention(12, 3), fastnn.zeros(4, 2, 12)
    for options, said in (({"attn_mask": fastnn.zeros(4, 5)}, r"attn_mask \(4, 5\) must be \(L, S\)=\(4, 4\)"), ({"is_causal": True}, "Need attn_mask"),
                          ({"key_padding_mask": fastnn.zeros(4, 2)}, r"key_padding_mask \(4, 2\) must be \(2, 4\)"),
                          ({"attn_mask": fastnn.zeros(4, 4, dtype=fastnn.int64)}, "only bool and floating types of attn_mask")):
        with pytest.raises(RuntimeError, match=said):
            m(x, x, x, **options)
    for option in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(NotImplementedError, match=f"{option}: not supported"):
            nn.MultiheadAttention(12, 3, **{option: True})
