"""`backends.mps.is_available()` and kin, for code that asks."""


class mps:
    """Apple's GPU backend, not carried."""

    @staticmethod
    def is_available():
        """False."""
        return False
