"""Imported, for its effects alone, by the process whose copies the workers of a sweep are."""

import atexit
import gc
import os
import signal

from cl_runner.signals import ignore

# The launching process alone answers Ctrl-C, and tells its workers of a signal that all of them may get.
signal.signal(signal.SIGINT, signal.SIG_IGN)
ignore()

# The collector finds next to nothing here, and walks through all of torch's modules to find it.
gc.disable()

import cl_runner.runs.loop  # noqa: E402, F401

# What is shared by copies must not be touched by their collectors.
gc.freeze()
gc.enable()

# Whoever started it may be waiting for its end, and taking torch apart takes over a second.
atexit.register(os._exit, 0)
