"""Stacking of videos of planets, the Moon and the Sun."""
