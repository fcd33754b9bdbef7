"""The stages in order: the only package that knows them all.

`artefacts` takes a network to an engine, each step behind the store; `comparison` puts rows of engines side by side.
`modes` times single steps of the PyTorch module itself.
"""
