"""The CUDA door: this build carries no CUDA extension."""


def is_available():
    """False: no CUDA extension is installed."""
    return False


def device_count():
    """0: no CUDA extension is installed."""
    return 0
