"""`deploykit` and `python -m deploykit`: run the command line and turn every ending into its exit code.

Whatever ends a command is one line on stderr. With DEPLOYKIT_DEBUG=1 the traceback stands above it.
"""

import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from deploykit.cli import deploykit
from deploykit.errors import DEBUG_VARIABLE, DeploykitError, debugging, unforeseen

INTERRUPTED, TERMINATED = 130, 143


class Terminated(BaseException):
    """SIGTERM has arrived."""


def main() -> NoReturn:
    if sys.stdout is None:  # closed by the caller: results go nowhere, as asked
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_run())


def _run() -> int:
    if "_DEPLOYKIT_COMPLETE" in os.environ:
        from deploykit.cli.completion import register

        register()
    try:
        code = deploykit.main(prog_name="deploykit", standalone_mode=False)
    except DeploykitError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        from deploykit.cli.hints import explain

        where = error.ctx.command_path if error.ctx else "deploykit"
        return _fail(f"{explain(error)} (see `{where} --help`)", error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; no partial file was left behind", INTERRUPTED)
    except Terminated:
        return _fail("terminated; no partial file was left behind", TERMINATED)
    except BrokenPipeError:  # the reader of stdout has left, as `head` does
        sys.stdout = None
        return 0
    except MemoryError as error:
        return _fail(f"out of memory: {error}; use a smaller network, image size or batch", 1)
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except Exception as error:  # noqa: BLE001 - a defect of deploykit's, whatever it is
        again = f"{DEBUG_VARIABLE}=1 {shlex.join(['deploykit', *sys.argv[1:]])}"
        return _fail(f"{unforeseen(error)}; please report it with the output of `{again}`", 1)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    """Called while the exception is handled, so that its traceback can be shown."""
    if debugging():
        import traceback

        traceback.print_exc()
    click.echo(f"deploykit: error: {' '.join(message.split())}", err=True)
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM unwinds the stack as an exception does, so that temporary files are removed on the way."""
    raise Terminated


if __name__ == "__main__":
    main()
