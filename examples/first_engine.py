# %% [markdown]
# # A first engine from Python
#
# Run it cell by cell in an editor that knows `# %%`, or as a script: `python examples/first_engine.py`.
# Nothing here needs a GPU. What is built lies in the store, `engines/` in the current folder unless DEPLOYKIT_STORE
# names another, so a second run is quick.

# %%
import numpy as np
import torch
from torch import nn

import deploykit as dk

# %% [markdown]
# ## A network of your own
#
# Any `nn.Module` will do. A few steps of training give it weights and BatchNorm statistics of its own.


# %%
class Stripes(nn.Module):
    """Are the stripes of a 32x32 image horizontal or vertical?"""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(16, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the two classes."""
        return self.head(self.features(images).mean((2, 3)))


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy stripes and their classes."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=random)
    waves = torch.sin(torch.arange(32) * 1.5).expand(count, 1, 32, 32)
    images = torch.where(labels.bool()[:, None, None, None], waves, waves.transpose(2, 3))
    return images + 0.5 * torch.randn(images.shape, generator=random), labels


torch.manual_seed(0)
network = Stripes()
optimizer = torch.optim.Adam(network.parameters(), 0.02)
for step in range(60):
    images, labels = stripes(32, seed=step)
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(images), labels).backward()
    optimizer.step()

# %% [markdown]
# ## Export
#
# A copy of the network is taken; the network itself stays in training mode and can be trained on. The graph is checked
# against the network in float64.

# %%
model = dk.from_module(network, example=torch.zeros(1, 1, 32, 32))
graph = dk.export(model)
print("graph:", graph.path.name[:12], *map(str, (*graph.inputs, *graph.outputs)), "check:", graph.check.verdict)
for record in graph.passes:
    if record.rewritten:
        print(f"  {record.name}: {len(record.rewritten)} rewrites")

# %% [markdown]
# ## Calibrate and build
#
# INT8 needs the range of every activation. `data` is a folder of images; here an `.npz` of arrays as the network takes
# them. The engine is compiled by TensorRT-RTX for the compute capability that `target` names.

# %%
np.savez("stripes.npz", images=stripes(64, seed=1000)[0].numpy())
table = dk.calibrate(graph, data="stripes.npz", images=64, method="entropy")
engine = dk.build(graph, precision="int8", calibration=table, batch=(1, 8, 32), backend="trt-rtx", target="sm_89")
print("engine:", engine.flavour, f"{len(engine.plan.kernels)} kernels,", "cannot run here:", engine.reason)
engine.save("stripes.engine")

# %% [markdown]
# ## Run
#
# ONNX Runtime runs the same typed graphs on any machine.

# %%
images, labels = stripes(200, seed=2000)
with dk.open(dk.build(graph, precision="int8", calibration=table, backend="ort")) as session:
    logits = session.run({"images": images.numpy()})["logits"]
accuracy = float((logits.argmax(axis=1) == labels.numpy()).mean())
print(f"top-1 of INT8 in ONNX Runtime: {100 * accuracy:.1f} %")

# %% [markdown]
# ## Verify
#
# Each row is compared with the network in float64. Eager PyTorch runs in a worker process, which cannot import a class
# that a script defines: its row says so. Put the class into a module of its own to have that row, too.

# %%
report = dk.verify(model, backends=["torch", "ort", "trt"], precisions=["fp32", "int8"], data="stripes.npz")
for row in report.rows:
    print(f"  {row.label}: {row.state}", row.parity.verdict if row.parity else row.reason)
