"""Penalties on weights, to be added to a loss."""


def l1_penalty(parameters):
    """sum |w| over all elements of `parameters`, a scalar with a gradient: it drives weights to zero.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([3.0, -4.0], requires_grad=True)
        >>> loss = 0.5 * fastnn.train.l1_penalty([w])
        >>> loss.backward()
        >>> loss.item(), w.grad
        (3.5, tensor([ 0.5000, -0.5000]))
    """
    return sum(p.abs().sum() for p in parameters)


def l2_penalty(parameters):
    """sum w^2 over all elements of `parameters`, a scalar with a gradient: it keeps weights small. With 0.5 weight_decay
    before it, it is what `optim.SGD(weight_decay=)` does without a term in the loss.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([3.0, -4.0], requires_grad=True)
        >>> loss = 0.5 * fastnn.train.l2_penalty([w])
        >>> loss.backward()
        >>> loss.item(), w.grad
        (12.5, tensor([ 3., -4.]))
    """
    return sum((p * p).sum() for p in parameters)
