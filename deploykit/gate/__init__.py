"""Two saved results, row by row: which figures changed, and whether that is more than a limit allows."""
