"""Searches: which fusions, layers and precisions cost least, and which layers cost accuracy."""
