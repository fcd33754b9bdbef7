"""An engine of seven bytes, and what a store holds of it."""

KEY = "ab" * 32
OTHER = "cd" * 32


def make_engine(writer):
    writer.write("net.engine", b"\x00engine")
    writer.path("build.log").write_text("fused 3 kernels")
    return {"kernels": 58}


def build(store, key=KEY, make=make_engine):
    return store.get_or_make("engine", key, make, request={"model": "lenet5"}, versions={"onnx": "1.23"})


def files_under(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def leftovers(root):
    """Everything but lock files: what a failed build must not leave."""
    return [name for name in files_under(root) if not name.startswith("locks/")]
