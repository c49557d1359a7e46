"""fastnn.train.l1_penalty and l2_penalty: values, gradients, and weight decay by another way."""
import numpy as np

import fastnn
from check import same_bits
from fastnn import nn
from fastnn.train import l1_penalty, l2_penalty


def test_values_and_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    flat = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    for penalty, want, slope in ((l1_penalty, np.abs(flat).sum(), np.sign), (l2_penalty, (flat ** 2).sum(), lambda w: 2 * w)):
        model.zero_grad()
        loss = 3 * penalty(model.parameters())
        loss.backward()
        np.testing.assert_allclose(loss.item(), 3 * want, rtol=1e-14)
        for p in model.parameters():
            np.testing.assert_allclose(p.grad.numpy(), 3 * slope(p.detach().numpy()), rtol=1e-14)


def test_half_of_it_is_weight_decay_captured_too():
    def run(decay, wrap):
        w = fastnn.linspace(-1, 1, 6).double().requires_grad_()
        optimizer = fastnn.optim.SGD([w], lr=0.1, weight_decay=0 if decay else 0.3)

        def step(x):
            optimizer.zero_grad()
            loss = (w * x).sum() + (0.5 * 0.3 * l2_penalty([w]) if decay else 0)
            loss.backward()
            optimizer.step()
            return loss
        f = wrap(step)
        for k in range(6):
            f(fastnn.full((6,), float(k)).double())
        return w.detach()
    np.testing.assert_allclose(run(True, lambda f: f).numpy(), run(False, lambda f: f).numpy(), rtol=1e-13)
    same_bits(run(True, lambda f: f), run(True, fastnn.capture))
