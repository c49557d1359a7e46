"""nn/transformer.py: layers, stacks and the encoding of positions, against PyTorch and by themselves."""
import numpy as np
import pytest

import fastnn
from fastnn import nn

E, H, FF = 12, 4, 20


def pair(torch, name, *args, **options):
    """A layer, or a stack of two, here and there, with the same float64 parameters."""
    torch.manual_seed(0)
    made = []
    for lib in (torch, fastnn):
        one = getattr(lib.nn, name + "Layer")(E, H, FF, dtype=lib.float64, **options)
        made.append(getattr(lib.nn, name)(one, *args, lib.nn.LayerNorm(E, dtype=lib.float64)) if args else one)
    theirs, ours = made
    for p in theirs.parameters():
        torch.nn.init.normal_(p, 0, 0.3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: fastnn.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def run(lib, m, arrays, dy, **call):
    """The result, and the gradients of the inputs and of the parameters."""
    leaves = [lib.from_numpy(a.copy()).requires_grad_() for a in arrays]
    m.zero_grad()
    y = m(*leaves, **{k: lib.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in call.items()})
    y.backward(lib.from_numpy(dy))
    return [y, *(x.grad for x in leaves), *(p.grad for p in m.parameters())]


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-10)


OPTIONS = [{}, {"norm_first": True}, {"batch_first": True, "activation": "gelu"}, {"batch_first": True, "norm_first": True, "bias": False}]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("depth", [(), (2,)], ids=["layer", "stack"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_encoder_as_pytorch(torch, options, depth):
    ours, theirs = pair(torch, "TransformerEncoder", *depth, dropout=0.0, **options)
    rng, L, N = np.random.default_rng(0), 6, 3
    x, dy = (rng.standard_normal((N, L, E) if options.get("batch_first") else (L, N, E)) for _ in range(2))
    causal, padding, mask = ~np.tri(L, dtype=bool), np.arange(L) >= np.array([[4], [6], [5]]), "mask" if depth else "src_mask"
    for call in ({}, {mask: causal}, {mask: causal, "is_causal": True}, {"src_key_padding_mask": padding}, {mask: causal, "src_key_padding_mask": padding}):
        same(run(fastnn, ours, [x], dy, **call), run(torch, theirs, [x], dy, **call))
    x, dy = x.reshape(-1, E)[:L], dy.reshape(-1, E)[:L]                    # no batch
    same(run(fastnn, ours, [x], dy), run(torch, theirs, [x], dy))
    ours.eval(), theirs.eval()
    same(run(fastnn, ours, [x], dy), run(torch, theirs, [x], dy))


@pytest.mark.parametrize("depth", [(), (2,)], ids=["layer", "stack"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoder_as_pytorch(torch, options, depth):
    ours, theirs = pair(torch, "TransformerDecoder", *depth, dropout=0.0, **options)
    rng, L, S, N = np.random.default_rng(1), 5, 7, 2
    shape = (lambda n: (N, n, E)) if options.get("batch_first") else (lambda n: (n, N, E))
    x, memory, dy = (rng.standard_normal(shape(n)) for n in (L, S, L))
    causal, padding = ~np.tri(L, dtype=bool), np.arange(S) >= np.array([[4], [7]])
    for call in ({}, {"tgt_mask": causal, "tgt_is_causal": True}, {"tgt_mask": causal, "memory_key_padding_mask": padding},
                 {"memory_mask": rng.standard_normal((L, S)), "tgt_key_padding_mask": np.arange(L) >= np.array([[5], [3]])}):
        same(run(fastnn, ours, [x, memory], dy, **call), run(torch, theirs, [x, memory], dy, **call))


def test_dropout_is_drawn_in_training_alone():
    layer = nn.TransformerEncoderLayer(E, H, FF)
    m, x = nn.TransformerEncoder(layer, 2), fastnn.randn(5, 2, E)
    assert layer.dropout.p == layer.self_attn.dropout == 0.1 and not (m(x) == m(x)).all()
    m.eval()
    assert (m(x) == m(x)).all()
    a, b = (list(one.parameters()) for one in m.layers)
    assert all((p == q).all() and p is not q for p, q in zip(a, b))


def test_a_captured_training_step_has_the_bits_of_the_eager_one():
    def train(wrap):
        fastnn.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, E), nn.PositionalEncoding(E, batch_first=True),
                            nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, FF, batch_first=True), 2), nn.Linear(E, 1))
        optimizer, x = fastnn.optim.Adam(net.parameters(), lr=0.01), fastnn.randn(4, 9, 3)

        @wrap
        def step(x):
            optimizer.zero_grad()
            loss = (net(x)[..., 0] - x.sum(-1)).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss
        return [step(x).item() for _ in range(30)]
    eager = train(lambda step: step)
    assert eager == train(fastnn.capture) and np.mean(eager[-5:]) < eager[0] / 2


@pytest.mark.parametrize("width", [6, 7])
@pytest.mark.parametrize("batch_first", [False, True])
def test_positions(width, batch_first):
    m = nn.PositionalEncoding(width, 0.0, 9, batch_first)
    i, c = np.arange(5)[:, None], np.arange(width)
    angle = i / 10000.0 ** (c // 2 * 2 / width)
    want = np.where(c % 2, np.cos(angle), np.sin(angle))
    x = np.random.default_rng(0).standard_normal((2, 5, width) if batch_first else (5, 2, width)).astype("float32")
    np.testing.assert_allclose(m(fastnn.tensor(x)).numpy() - x, np.broadcast_to(want[None] if batch_first else want[:, None], x.shape), atol=1e-6)
    np.testing.assert_allclose(m(fastnn.zeros(5, width)).numpy(), want, atol=1e-6)
    assert list(m.state_dict()) == ["pe"] and m.pe.shape == (9, width)
    for shape in ((10, width), (5, width + 1), (1, 2, 3, width)):
        with pytest.raises(RuntimeError, match="E=.* and L up to 9, got"):
            m(fastnn.zeros(*shape))


def test_what_does_not_fit():
    with pytest.raises(RuntimeError, match="activation should be relu/gelu, not tanh"):
        nn.TransformerEncoderLayer(E, H, activation="tanh")
    with pytest.raises(RuntimeError, match="features, the layer was made for 12"):
        nn.TransformerEncoderLayer(E, H)(fastnn.zeros(3, 2, E + 1))
