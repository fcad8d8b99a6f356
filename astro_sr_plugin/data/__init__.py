"""Images in and out: files, headers, world coordinates, masks and uncertainties."""
