"""The networks of this project: a U-Net on Wiener-filtered views of the image."""
