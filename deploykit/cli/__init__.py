"""The command line. Each command is a thin file: parse, one call of the pipeline, render.

Commands are imported when they are used, so `deploykit --help` loads no framework.
"""

from importlib import import_module

import click

from deploykit.errors import UnknownName

COMMANDS = {
    "list": "The zoo: parameters, MACs, input, published top-1, paper.",
    "summary": "Per-layer table: output shape, parameters, MACs, receptive field.",
    "export": "PyTorch to optimized ONNX, checked against float64.",
    "calibrate": "The calibration table that INT8 is made with.",
    "build": "Typed graph to a TensorRT engine.",
    "inspect": "What was compiled: kernels, precision, bytes, roofline.",
    "verify": "Numerical parity of every backend; exit code 3 when it fails.",
    "evaluate": "Top-1 and top-5 on labeled images; exit code 3 beyond --max-drop.",
    "bench": "The side-by-side table: speed, parity, and what was compiled.",
    "doctor": "What is installed, what is missing, and how to fix it.",
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command:  # noqa: ARG002
        if name not in COMMANDS:
            from deploykit.cli.hints import command_hint

            raise UnknownName("command", name, COMMANDS, fix=command_hint(name))
        command = import_module(f"deploykit.cli.{name}_command").command
        assert isinstance(command, click.Command)  # noqa: S101 - each command file defines one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="deploykit")
def deploykit() -> None:
    """Take a convolutional network to a proven TensorRT engine, and see what each backend makes of it.

    Results go to stdout, progress to stderr. MODEL is a name from `deploykit list`, an
    .onnx file, or a function of yours that returns a module, package.module:function.
    """
