"""From frames to a stack: calibration, normalisation, rejection and combination."""
