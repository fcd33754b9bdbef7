"""A process started in the background ignores Ctrl-C, and so do its children: undone here, for tests that send it."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
