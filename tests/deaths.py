"""A process that dies at one of the calls by which files are put in place."""

import contextlib
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from unittest import mock

STEPS = ("replace", "rename", "fsync", "link")
CLEANING = ("unlink", "remove", "rmdir")


class Died(BaseException):
    """As kill -9 does it: no `finally` and no `except` touches the disk afterwards."""


@contextlib.contextmanager
def dying(at: int) -> Iterator[None]:
    """From the call number at // 2 of STEPS on, every one raises Died, and so does what would clean
    up; that call does so before its work or, where `at` is odd, after it."""
    left = [at // 2]

    def wrapped(function: Callable) -> Callable:
        def call(*arguments, **settings):
            left[0] -= 1
            if left[0] < -1 or (left[0] == -1 and at % 2 == 0):
                raise Died
            try:
                return function(*arguments, **settings)
            finally:
                if left[0] == -1:
                    raise Died

        return call

    def cleaning(function: Callable) -> Callable:
        def call(*arguments, **settings):
            if left[0] < 0:
                raise Died
            return function(*arguments, **settings)

        return call

    with contextlib.ExitStack() as stack:
        for name in STEPS:
            stack.enter_context(mock.patch.object(os, name, wrapped(getattr(os, name))))
        for name in CLEANING:
            stack.enter_context(mock.patch.object(os, name, cleaning(getattr(os, name))))
        stack.enter_context(mock.patch.object(shutil, "rmtree", cleaning(shutil.rmtree)))
        yield


def at_every_step(do: Callable[[], object], check: Callable[[], object]) -> int:
    """Do something and die at each of its steps in turn, checking what is left each time; then to
    its end. Returns how often it died."""
    for at in range(1000):
        try:
            with dying(at):
                do()
        except Died:
            check()
        else:
            check()
            return at
    raise AssertionError("it never came to its end")


def kill_at(at: int) -> None:
    """Have this process kill itself (SIGKILL) at the call number at // 2 of STEPS, of any thread,
    before its work or, where `at` is odd, after it."""
    calls = itertools.count()

    def wrapped(function: Callable) -> Callable:
        def call(*arguments, **settings):
            here = next(calls) == at // 2
            if here and at % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            done = function(*arguments, **settings)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return call

    for name in STEPS:
        setattr(os, name, wrapped(getattr(os, name)))


if __name__ == "__main__":  # python -m tests.deaths AT COMMAND …: launch.py, to be killed
    import launch

    kill_at(int(sys.argv[1]))
    sys.exit(launch.main(sys.argv[2:]))
