"""Training steps of fully connected networks by scikit-learn's MLPClassifier: `partial_fit` of the batch."""
import numpy as np


def make(work):
    from sklearn.neural_network import MLPClassifier
    x, y, weights = work.arrays()
    net = MLPClassifier([len(b) for _, b in weights[:-1]], activation="tanh" if "tanh" in work.activations else "relu",
                        solver="adam" if work.optimizer == "adam" else "sgd", alpha=0, batch_size=len(x),
                        learning_rate_init=work.lr, momentum=0.9 * (work.optimizer == "sgd-m"), nesterovs_momentum=False,
                        shuffle=False)
    net.partial_fit(x, y, classes=np.arange(work.classes))
    for mine, (w, b) in zip(zip(net.coefs_, net.intercepts_), weights):
        mine[0][:], mine[1][:] = w.T, b
    optimizer = net._optimizer                   # its averages begin anew, on these weights
    for name in ("ms", "vs", "velocities"):
        for average in getattr(optimizer, name, []):
            average[:] = 0
    optimizer.t = 0

    def call():
        net.partial_fit(x, y)
        return net.loss_

    def result():
        losses = [call() for _ in range(5)]
        optimizer.learning_rate_init = optimizer.learning_rate = 0.0
        return [losses]
    return call, result
