"""Data loading."""
import importlib

import numpy as np

from .workload import Workload


class Loader(Workload):
    """A tenth of an epoch: shuffled batches from a TensorDataset of n images of 28x28, float32."""
    twins = "fastnn", "torch"

    def __init__(self, n, batch):
        self.n, self.batch, self.calls = n, batch, -(-n // (10 * batch))
        self.bytes = 2 * 4 * 784 * self.calls * batch

    def small_size(self):
        return 300, 16

    def make(self, twin):
        data = importlib.import_module(f"{twin.lib.__name__}.utils.data")
        images = twin.tensor(self.rng().random((self.n, 784), dtype=np.float32))
        labels = twin.tensor((np.arange(self.n) + self.seed) % 10)
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


WORKLOADS = {"loader mnist b64 shuffled": Loader(60000, 64)}
