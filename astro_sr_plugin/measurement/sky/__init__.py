"""The sky of a plane: background, noise and its correlation, saturation."""
