"""Backends that break a row, installed as a plug-in by conftest.py: they are the null backend with one fault."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from deploykit.backends.null import NullBackend, NullBound, NullSession
from deploykit.errors import DeviceOutOfMemory


class _Session(NullSession):
    made = NullBound

    def bind(self, feed):
        bound = super().bind(feed)
        bound.__class__ = self.made
        return bound


class _Backend(NullBackend):
    session = _Session

    def open(self, engine, *, threads=0):
        return self.session(engine)


def _backend(launch):
    """A null backend whose every launch first calls `launch`."""

    class Bound(NullBound):
        def launch(self):
            launch()
            super().launch()

    return type("Backend", (_Backend,), {"session": type("Session", (_Session,), {"made": Bound})})


def _die_in_round():
    if sys._getframe(2).f_code.co_name == "timed_runs":
        os.kill(os.getpid(), signal.SIGKILL)


def _slow_in_round():
    if sys._getframe(2).f_code.co_name == "timed_runs":
        time.sleep(0.003)


def _abort():
    os.write(2, b"terminate called: bad_alloc\n")
    os.abort()


def _out_of_memory():
    raise DeviceOutOfMemory("12 GB do not fit", hint="use a smaller --batch")


def _raise():
    raise ValueError("first line\nsecond line")


class Careless(_Backend):
    """Crashes its process unless it is asked for care, or, with a note, in any case."""

    def open(self, engine, *, threads=0):
        if not engine.careful or engine.note:
            os.abort()
        session = super().open(engine)
        session.remark = "carefully"
        return session


class Hanging(NullBackend):
    def open(self, engine, *, threads=0):
        time.sleep(3600)


class Noisy(_Backend):
    def open(self, engine, *, threads=0):
        print("python on stdout")
        os.write(1, b"C++ on stdout\n")
        os.write(2, b"C++ on stderr\n")
        return super().open(engine)


class Parent(_Backend):
    """Starts a process of its own, as a compiling backend does, and writes its id where the feed's note says."""

    def open(self, engine, *, threads=0):
        child = subprocess.Popen(["sleep", "3600"])
        Path(engine.note).write_text(f"{os.getpid()} {child.pid}")
        return super().open(engine)


class _LaterBound(NullBound):
    """Does what its session's `fault` names, in a round or in its answers."""

    def launch(self):
        fault = self._session.fault
        if fault == "hang":
            time.sleep(3600)
        if fault == "crash in a round" and sys._getframe(1).f_code.co_name == "timed_runs":
            os.kill(os.getpid(), signal.SIGSEGV)
        super().launch()
        (logits,) = self.results.values()
        answers = {
            "nan": lambda: {"logits": logits * np.float32("nan")},
            "shape": lambda: {"logits": logits[:, :3]},
            "empty": lambda: {"logits": logits[:0]},
            "nothing": dict,
        }
        self.results = answers.get(fault, lambda: self.results)()


class Relapsing(_Backend):
    """The engine's note is `NUMBER|FAULT|PATH`: in the process of this number, by a file that counts them, a fault."""

    def open(self, engine, *, threads=0):
        number, fault, path = engine.note.split("|")
        with Path(path).open("a") as file:
            file.write("x")
        session = super().open(engine)
        session.fault = fault if len(Path(path).read_text()) == int(number) else ""
        if session.fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        return session


class _LaterSession(_Session):
    made = _LaterBound
    fault = ""


Relapsing.session = _LaterSession


class Threads(_Backend):
    def open(self, engine, *, threads=0):
        raise ValueError(f"threads={threads} {[os.environ[name] for name in ('OMP_NUM_THREADS', 'GOMP_SPINCOUNT')]}")


Abort = _backend(_abort)
Raise = _backend(_raise)
OutOfMemory = _backend(_out_of_memory)
Exit = _backend(lambda: os._exit(7))
Killed = _backend(_die_in_round)
Slow = _backend(lambda: time.sleep(0.1))
Slower = _backend(lambda: time.sleep(0.5))
Tiring = _backend(_slow_in_round)
