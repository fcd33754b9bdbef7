"""Checkpoints as training scripts write them: what kind of file it is, what may lie in it, and which of it fits.

`formats` tells a file by its first bytes, `harmless` lists what a pickle may hold beside tensors, `fit` finds the table
of tensors that fits a network. Only `deploykit.io.loader` opens the file.
"""
