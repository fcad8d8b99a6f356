"""Training of networks for display images: published architectures, on stretched planes."""
