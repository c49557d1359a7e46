"""What code asks before it chooses a device."""
import fastnn


def test_no_other_device_is_claimed():
    assert fastnn.cuda.is_available() is False and fastnn.cuda.device_count() == 0
    assert fastnn.backends.mps.is_available() is False


def test_the_device_idiom_gives_the_cpu():
    device = "cuda" if fastnn.cuda.is_available() else "mps" if fastnn.backends.mps.is_available() else "cpu"
    assert str(fastnn.ones(1).to(device).device) == "cpu"
