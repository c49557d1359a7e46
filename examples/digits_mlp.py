"""Train a small network on the digits that come with fastnn, the training step captured: under a second."""
import fastnn
from fastnn import nn, optim
from fastnn.datasets import Digits
from fastnn.nn import functional as F
from fastnn.utils.data import DataLoader, random_split


def main():
    fastnn.manual_seed(0)
    train, test = random_split(Digits(), [1438, 359])
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=2e-3)

    @fastnn.capture
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for epoch in range(20):
        total = 0.0
        for x, y in DataLoader(train, batch_size=32, shuffle=True, drop_last=True):
            total += step(x, y).item()
    with fastnn.no_grad():
        x, y = next(iter(DataLoader(test, batch_size=len(test))))
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    print(f"last epoch's loss {total / (len(train) // 32):.4f}, held-out accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
