"""Precision lives in the graph: an optimized float graph in, a typed graph out.

FP32 is the graph itself, `float16` retypes it, `int8` writes Q/DQ pairs from a calibration table (`calibrate`) where a
backend's placement wants them. `emulate` executes a typed graph as written; `lint` and `baseline` judge INT8 graphs.
"""
