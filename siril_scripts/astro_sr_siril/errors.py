"""What can go wrong in a way that the user can do something about."""

__all__ = ["CancelledError", "ScriptError"]


class ScriptError(Exception):
    """One clear sentence for the log of Siril."""


class CancelledError(Exception):
    """The user has stopped the work."""
