"""Networks that draw samples of what an image may be: ours, and the published SR3."""
