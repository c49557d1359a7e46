"""Without a CUDA extension every CUDA call says so."""
import pytest

import fastnn


@pytest.mark.parametrize("call", [lambda t: t.cuda(), lambda t: t.to("cuda"), lambda t: t.to("cuda:1"), lambda t: fastnn.zeros(1, device="cuda"),
                                  lambda t: fastnn.nn.Linear(1, 1).to("cuda")])
def test_cuda_is_refused_by_name(call):
    assert not fastnn.cuda.is_available()
    with pytest.raises(RuntimeError, match="CUDA"):
        call(fastnn.ones(1))
