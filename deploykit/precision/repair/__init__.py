"""What brings INT8 back to the float graph's accuracy: see each module."""
