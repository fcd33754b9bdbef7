"""What a refused command may say."""

import subprocess


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command leaves, after its progress."""
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("deploykit: error: ")]
    assert len(errors) == 1, done.stderr
    assert done.stdout == ""
    return errors[0]
