"""Rows beside eager PyTorch that a user of PyTorch would try first: another memory format, and its compiler."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from deploykit.backends.protocol import Engine
from deploykit.backends.torch import TorchBackend, TorchSession
from deploykit.spec import Reason

if TYPE_CHECKING:
    import torch

CACHE = "TORCHINDUCTOR_CACHE_DIR"
INSTALL_COMPILER = "install one (Debian, Ubuntu: apt install g++), or name it in CXX"


class ChannelsLastBackend(TorchBackend):
    """Eager PyTorch with images and weights channels last in memory, which its convolutions may be faster on."""

    name = "torch:channels_last"
    variant = "channels_last"

    def open(self, engine: Engine, *, threads: int = 0) -> TorchSession:
        return ChannelsLastSession(engine, threads=threads)


class ChannelsLastSession(TorchSession):
    """Inputs are laid out when they are bound, which is not timed."""

    def prepared(self, module: torch.nn.Module) -> torch.nn.Module:
        import torch

        return module.to(memory_format=torch.channels_last)

    def laid_out(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


class CompiledBackend(TorchBackend):
    """`torch.compile` with its default backend, Inductor, which needs a C++ compiler for the CPU and for the GPU."""

    name = "torch:compile"
    variant = "compile"

    def unavailable(self) -> Reason | None:
        return super().unavailable() or _no_compiler()

    def open(self, engine: Engine, *, threads: int = 0) -> TorchSession:
        return CompiledSession(engine, threads=threads)


def _no_compiler() -> Reason | None:
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler.split()[0]) is None:
        return Reason(f"torch.compile needs a C++ compiler, and {compiler} is not here", INSTALL_COMPILER)
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        return Reason(
            "torch.compile needs the headers of this Python, and they are not here",
            "install them (Debian, Ubuntu: apt install python3-dev)",
        )
    return None


class CompiledSession(TorchSession):
    """The first run of a shape compiles. Inductor's cache is a folder of this session's own, so the compilation is a
    whole one in every process and not what an earlier one left."""

    def __init__(self, engine: Engine, *, threads: int = 0) -> None:
        self._cache = TemporaryDirectory(prefix="deploykit-inductor-")
        self._before = os.environ.get(CACHE)
        os.environ[CACHE] = self._cache.name
        super().__init__(engine, threads=threads)

    def prepared(self, module: torch.nn.Module) -> torch.nn.Module:
        import torch

        return torch.compile(module)  # type: ignore[return-value]

    def free(self) -> None:
        super().free()
        if self._before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = self._before
        self._cache.cleanup()
