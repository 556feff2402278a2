"""JSON lines between the command and a side: a process that trains when it is asked to.

The first line that a side is sent opens it, with the arguments of its class; each later one names
an action and its arguments. Every line is answered by one. What a side's libraries print goes to
its standard error, and never between the answers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from arch.runs import provenance

MOST_STEPS = 100_000  # in one turn


class SideFailed(RuntimeError):
    """The process of a side has ended, or its action raised: one line says why."""


def steps_in(seconds: float, each: float) -> int:
    """How many steps of `each` seconds a turn of `seconds` takes: one at least."""
    return max(1, min(MOST_STEPS, round(seconds / each)))


def serve(side: Callable[..., Any]) -> None:
    """Be a side until standard input ends: `side(**opening).about` answers the first line, and its
    methods the others, with the `cpu_seconds` that they took."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    opened: Any = None
    for line in sys.stdin:
        told = json.loads(line)
        try:
            if opened is None:
                opened = side(**told)
                answer = opened.about
            else:
                before = time.process_time()
                answer = getattr(opened, told.pop("do"))(**told)
                answer = {**answer, "cpu_seconds": time.process_time() - before}
        except Exception as error:  # whatever a library raises is told, and ends this side alone
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        print(json.dumps(answer), file=answers, flush=True)


class Side:
    """A side's process, as the command sees it.

    Args:
        module: run as `python -m module`; it calls `serve`.
        opening: the arguments of its class.

    Attributes:
        about: what it says of itself: parameters, versions, threads.

    Raises SideFailed where the process ends, or answers with an error; so do the actions.
    """

    def __init__(self, module: str, opening: Mapping[str, Any]):
        path = [str(provenance.CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._module = module
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )
        try:
            self.about = self._ask(opening)
        except SideFailed:
            self.close()
            raise

    def do(self, action: str, **arguments: Any) -> dict[str, Any]:
        """The answer of an action."""
        return self._ask({"do": action, **arguments})

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(told) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise SideFailed(f"{self._module}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else f"it ended with exit code {code}"
