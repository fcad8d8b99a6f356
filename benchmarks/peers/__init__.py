"""The verbs of the package and other methods, run on images whose truth is known."""
