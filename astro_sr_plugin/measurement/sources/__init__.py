"""The sources of a plane."""
