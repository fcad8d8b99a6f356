"""Benchmarks: truth-known scenes, rival methods, quality, speed and memory.

Nothing here is used in training; the scenes are rendered by GalSim, independently of the package's
own simulation room.
"""
