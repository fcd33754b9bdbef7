"""Calibration: activations counted into histograms, and ranges made of those."""
