"""Find the stars of an image, and mask them."""
