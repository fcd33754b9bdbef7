"""What every fusion does at a site that it does not take: it says why, and changes nothing."""

import onnx_ir as ir

from deploykit.graph.rewrite import Fusion


def assert_refused(fusion: Fusion, model: ir.Model, reason: str) -> None:
    """`fusion` gives `reason` for the one site of `model`, which stays the same to the byte."""
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = fusion(model)
    assert [item.reason for item in result.skipped] == [reason]
    assert not result.rewritten
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
