"""Benchmarks: ``python -m benchmarks`` lists them.

`truth` simulates images whose truth is known, `peers` runs the verbs and other methods on them,
`figures` measures and tabulates the results, `real` compares observations of the sky, `fuzz` makes
odd files, and each file of `runs` is a benchmark. A folder imports only those named before it.
Nothing here is used in training; the scenes are rendered by GalSim, independently of the simulation
of the package.
"""
