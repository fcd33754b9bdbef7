"""The command line. Each command is a thin file: parse, one call, render.

Commands are imported when they are used, so `deploykit --help` loads no framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.answers import warnings_as_lines
from deploykit.cli.command import CommandGroup
from deploykit.errors import UnknownName

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "list": "List the networks of the zoo: parameters, MACs, input, published top-1.",
    "summary": "Show a network layer by layer: shapes, parameters, MACs, receptive field.",
    "export": "Export a network to optimized ONNX, verified against float64.",
    "calibrate": "Make the calibration table for INT8, and measure each layer's sensitivity.",
    "build": "Build a TensorRT engine in FP32, FP16 or INT8.",
    "inspect": "Show what was compiled: kernels, precision, memory traffic, roofline.",
    "verify": "Compare every backend numerically with float64.",
    "evaluate": "Measure top-1 and top-5 accuracy on labeled images.",
    "predict": "Classify images into a file: in a stream, resumable, by shards.",
    "bench": "Compare backends and precisions side by side: speed, parity, plan.",
    "compare": "Compare two saved results: which figures changed, and whether that is too much.",
    "store": "List, verify, prune and clear the artifact store.",
    "doctor": "Show what is installed, what is missing, and how to fix it.",
}


class LazyGroup(CommandGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            if ctx.resilient_parsing:  # a shell completes what stands behind it
                return None
            from deploykit.cli.hints import command_hint

            raise UnknownName("command", name, COMMANDS, fix=command_hint(name))
        command = import_module(f"deploykit.cli.{name}_command").command
        assert isinstance(command, click.Command)  # noqa: S101 - each command file defines one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[Any]]":
        """Names of commands, none of which is imported for it."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return found or super().shell_complete(ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="deploykit")
def deploykit() -> None:
    """Export a convolutional network through ONNX to a TensorRT engine, verify it, and compare backends.

    MODEL is a name from `deploykit list`, an .onnx file, or a Python function that returns an nn.Module, written
    package.module:function.

    Results go to stdout, progress and warnings to stderr. Exit codes: 0 success, 1 failure, 2 wrong usage, 3 a gate
    failed (parity, accuracy, a weight outside float16's range, a limit of compare), 4 backend missing, 5 malformed or
    untrusted file.
    """
    click.get_current_context().with_resource(warnings_as_lines())
