"""Simulated images whose truth is known."""
