"""The verbs: each a file that reads as the steps it takes."""
