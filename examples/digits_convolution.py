"""Train a convolutional network with batch norm on the digits that come with fastnn, the learning rate falling along a cosine."""
import fastnn
from fastnn import nn, optim
from fastnn.datasets import Digits
from fastnn.nn import functional as F
from fastnn.utils.data import DataLoader, random_split


def main(epochs=8):
    fastnn.manual_seed(0)
    train, test = random_split(Digits(), [1438, 359])
    model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.1),
                          nn.Flatten(), nn.Linear(64 * 2 * 2, 10))
    optimizer = optim.AdamW(model.parameters(), lr=4e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)

    @fastnn.capture                          # batch statistics and the learning rate move from replay to replay
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for _ in range(epochs):
        for x, y in DataLoader(train, batch_size=32, shuffle=True, drop_last=True):
            loss = step(x, y)
        schedule.step()
    model.eval()
    with fastnn.no_grad():
        x, y = next(iter(DataLoader(test, batch_size=len(test))))
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    print(f"last loss {loss.item():.4f}, held-out accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
