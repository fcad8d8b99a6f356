"""The point-spread function of a plane: profiles, fits, the field, the extended part."""
