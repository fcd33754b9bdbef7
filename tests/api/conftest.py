"""LeNet-5 through the API: made once over the run's store."""

import pytest

import deploykit as dk

BATCH = (1, 4, 8)


@pytest.fixture(scope="session")
def lenet(shared_store):
    """The exported graph of LeNet-5 with seeded weights."""
    return dk.export("lenet5", store=shared_store)


@pytest.fixture(scope="session")
def table(lenet):
    return dk.calibrate(lenet, data="noise", images=16, method="entropy")


@pytest.fixture(scope="session")
def runnable(lenet):
    """LeNet-5 for ONNX Runtime, which runs anywhere."""
    return dk.build(lenet, backend="ort", batch=BATCH)


@pytest.fixture(scope="session")
def compiled(lenet, table):
    """LeNet-5 in INT8, compiled for an RTX 4090."""
    return dk.build(
        lenet, precision="int8", calibration=table, batch=BATCH, backend="trt-rtx", target="sm_89", data="noise"
    )
