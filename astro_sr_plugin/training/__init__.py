"""Training of the house networks, from simulated skies alone or with textures of the user's."""
