"""Image files: FITS, XISF and TIFF behind one pair of functions."""
