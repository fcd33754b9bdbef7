"""What networks are shown: noise, and feeds cut into runs."""
