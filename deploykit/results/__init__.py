"""What comes out of a command, as frozen values and as JSON."""
