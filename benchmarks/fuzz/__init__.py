"""Odd, damaged and rare image files, made at random, and what must hold for each of them.

``python -m benchmarks fuzz --minutes 60`` runs for an hour and keeps the file of each finding; a
small and repeatable share of the same files runs with the tests.
"""
