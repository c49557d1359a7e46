"""Data loading."""
import numpy as np

from .workload import Workload


class Loader(Workload):
    """A tenth of an epoch: shuffled batches from a TensorDataset of n images of 28x28, float32."""

    def __init__(self, n, batch):
        self.n, self.batch, self.calls = n, batch, -(-n // (10 * batch))
        self.bytes = 2 * 4 * 784 * self.calls * batch

    def small(self):
        return Loader(300, 16)

    def _make(self, lib, data):
        images = lib.from_numpy(self.rng().random((self.n, 784), dtype=np.float32))
        labels = lib.from_numpy((np.arange(self.n) + self.seed) % 10)
        loader = data.DataLoader(data.TensorDataset(images, labels), batch_size=self.batch, shuffle=True)
        box = [iter(loader)]

        def call():
            for _ in range(self.calls):
                try:
                    next(box[0])
                except StopIteration:
                    box[0] = iter(loader)
                    next(box[0])

        def result():
            """Every image once, with its own label."""
            sums = np.zeros(10)
            for x, y in loader:
                np.add.at(sums, y.numpy(), x.numpy().mean(1, dtype=np.float64))
            return [sums.tolist()]
        return call, result

    def fastnn(self):
        import fastnn
        import fastnn.utils.data
        return self._make(fastnn, fastnn.utils.data)

    def torch(self):
        import torch
        import torch.utils.data
        return self._make(torch, torch.utils.data)


WORKLOADS = {"loader mnist b64 shuffled": Loader(60000, 64)}
