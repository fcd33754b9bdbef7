"""One rewrite of the graph a file; `order.py` says which run, and in what order."""
