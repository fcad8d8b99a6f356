"""Registration of frames: detect stars, match them, fit the transform, resample."""
