"""What can go wrong in a way that the user can do something about."""

__all__ = ["Cancelled", "Problem"]


class Problem(Exception):
    """One clear sentence for the log of Siril."""


class Cancelled(Exception):
    """The user has stopped the work."""
