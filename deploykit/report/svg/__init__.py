"""Drawings of results as inline SVG: pure functions from values to markup, one file a kind of chart."""
