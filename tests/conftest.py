"""What the whole suite shares.

`full_run` is the plugin behind `make test-full`. A test whose point is a real network at its own size, or a real
training, is marked `full`; CONTRIBUTING.md lists them.
"""

import signal

pytest_plugins = ["full_run"]

# A process started in the background ignores Ctrl-C, and so do its children: undone here, for tests that send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
