"""Observations of the sky: results from poorer data held against better data of the same field."""
