"""A result held against its input."""
