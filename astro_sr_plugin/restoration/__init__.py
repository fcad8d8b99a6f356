"""What stands between an image and a model."""
