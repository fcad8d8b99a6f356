"""Before and after: a picture and a self-contained page."""
