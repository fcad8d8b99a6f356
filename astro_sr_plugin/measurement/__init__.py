"""Measure an image: sky, noise and its correlation, point-spread function, quality."""
