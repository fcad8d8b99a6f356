"""From one plane of numbers to another through a model, in tiles that leave no trace."""
