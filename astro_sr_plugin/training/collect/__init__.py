"""Pictures for training, from public archives, with their credits."""
