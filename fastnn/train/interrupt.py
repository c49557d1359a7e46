"""How Ctrl-C leaves a training between two steps, so that what a checkpoint then holds can be gone on from."""
import signal
import threading


class Interrupt:
    """Ctrl-C during fit: at once while the loop only waits for data, else when the step under way is done; the second
    time at once."""

    def __init__(self):
        self.pressed, self.waiting, self.torn = False, False, False

    def __enter__(self):
        self.before = None
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _press(self, *_):
        self.torn = self.pressed and not self.waiting
        self.pressed = True
        if self.waiting or self.torn:
            self.waiting = False
            raise KeyboardInterrupt

    def check(self):
        if self.pressed:
            raise KeyboardInterrupt
