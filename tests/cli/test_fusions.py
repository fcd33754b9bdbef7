"""`--fuse`: which rewrites a graph gets, told by name and refused by name."""

import json

import onnx
import pytest
from one_line import complaint

NORMS = 9  # of the miniature ResNet


@pytest.mark.parametrize(("fuse", "left"), [("none", NORMS), ("safe", 0), ("fold_batchnorm", 0), ("fold_pad", NORMS)])
def test_export_folds_what_is_asked_for(run, fuse, left):
    done = run("export", "test_resnet", "--fuse", fuse, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    ops = [node.op_type for node in onnx.load(answer["onnx"]).graph.node]
    assert ops.count("BatchNormalization") == left
    assert answer["check"]["verdict"] == "pass"


def test_a_graph_is_kept_apart_from_that_of_other_fusions(run):
    digests = {
        json.loads(run("export", "test_resnet", "--fuse", fuse, "--json").stdout)["digest"] for fuse in ("none", "safe")
    }
    assert len(digests) == 2


@pytest.mark.parametrize(("fuse", "said"), [("fold_batchnrm", "fold_batchnorm"), (",", "write none, safe")])
def test_an_unknown_fusion_is_refused_by_name(run, fuse, said):
    done = run("build", "test_resnet", "--fuse", fuse)
    assert done.returncode == 2
    assert said in complaint(done)
