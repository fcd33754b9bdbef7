"""INT8 in the graph: where Q/DQ pairs stand, with which scales, and whether they are right."""
