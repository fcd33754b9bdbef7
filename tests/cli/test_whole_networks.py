"""Whole networks through every backend and precision, as `.ci/run` asks of MobileNet."""

import json

import pytest


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet50", "mobilenet"])
def test_every_row_of_a_whole_network_holds(run, tmp_path, name):
    done = run("verify", name, "--backends", "torch,ort,trt", "--precision", "fp32,fp16,int8", "--json", store=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {(row["backend"], row["precision"]): row for row in json.loads(done.stdout)["rows"]}
    assert len(rows) == 9
    assert rows.pop(("torch", "int8"))["state"] == "unavailable"
    assert {row["parity"]["verdict"] for row in rows.values()} == {"pass"}
