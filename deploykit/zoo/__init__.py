"""The networks: one family a file, and cards that hold every entry as data."""
