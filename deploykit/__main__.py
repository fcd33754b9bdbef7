"""`deploykit` and `python -m deploykit`: run the command line and turn every ending into its exit code.

Whatever ends a command is one line on stderr. With DEPLOYKIT_DEBUG=1 the traceback stands above it.
"""

import errno
import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from deploykit.cli import deploykit
from deploykit.errors import DEBUG_VARIABLE, DeploykitError, UsageError, debugging, unforeseen
from deploykit.quote import quoted, shown

UNUSABLE_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)  # whatever the path was to be used for
INTERRUPTED, TERMINATED = 130, 143
STOPPED = {signal.SIGINT: (INTERRUPTED, "interrupted"), signal.SIGTERM: (TERMINATED, "terminated")}

_signals: list[int] = []  # those that have arrived, in order


class Terminated(BaseException):
    """SIGTERM has arrived."""


def main() -> NoReturn:
    if sys.stdout is None:  # closed by the caller: results go nowhere, as asked
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    _signals.clear()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the parent had it ignored
        signal.signal(signal.SIGINT, _stop)
    sys.exit(_run())


def _run() -> int:
    if "_DEPLOYKIT_COMPLETE" in os.environ:
        from deploykit.cli.completion import register

        register()
    out = sys.stdout
    try:
        code = deploykit.main(prog_name="deploykit", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # where the reader has left, here and not when the interpreter ends
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
    except (click.Abort, KeyboardInterrupt, Terminated) as error:
        return _stopped(signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    except BrokenPipeError:  # the reader of stdout has left, as `head` does
        return _reader_left()
    except SystemExit:  # click's, of completion, or where it has replaced a stdout whose reader left
        if sys.stdout is out:
            raise
        return _reader_left()
    except MemoryError as error:
        return _fail(f"out of memory: {error}; use a smaller network, image size or batch", 1)
    except OSError as error:
        if error.errno in UNUSABLE_NAMES:
            return _fail(f"{error.filename}: {error.strerror}; give another path", UsageError.exit_code)
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except Exception as error:  # noqa: BLE001 - a defect of deploykit's, whatever it is
        again = f"{DEBUG_VARIABLE}=1 {shlex.join(['deploykit', *sys.argv[1:]])}"
        return _fail(f"{unforeseen(error)}; please report it with the output of `{again}`", 1)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    """Called while the exception is handled, so that its traceback can be shown.

    A signal may come up as the error of a library that it reached in the middle of its work: it is still what happened.
    """
    if _signals and code not in (INTERRUPTED, TERMINATED):
        return _stopped(_signals[0])
    if debugging():
        import traceback

        click.echo("\n".join(map(shown, traceback.format_exc().splitlines())), err=True)
    click.echo(f"deploykit: error: {quoted(' '.join(message.split()))}", err=True)
    return code


def _reader_left() -> int:
    sys.stdout = None
    return 0


def _stopped(number: int) -> int:
    code, word = STOPPED[signal.Signals(number)]
    return _fail(f"{word}; no unfinished result was left (calibrate and predict resume when they are run again)", code)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """A signal unwinds the stack as an exception does, so that temporary files are removed on the way."""
    _signals.append(number)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


if __name__ == "__main__":
    main()
