"""Run models over images in tiles whose result equals that of the whole image."""
