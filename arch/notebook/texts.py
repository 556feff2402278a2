"""Texts that a model makes of a prompt: what may be asked for, and how its pieces come."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import jax
import numpy as np

from arch.checks import SEED_LIMIT, at_least, holds
from arch.models.choices import Choice
from arch.models.drawing import continuation, filled, searched
from arch.models.generation import Blanks, Prompt, Search
from arch.registry import ConfigurationError
from arch.stacks.parameters import Parameters
from arch.sweeps import machine
from arch.tasks.contract import Task

# bytes of a character that is not whole yet, as text
WAITING = "".join(map(chr, range(0xDC80, 0xDD00))) + "\N{REPLACEMENT CHARACTER}"
DRAWING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "draws")


class Speaker(Protocol):
    """What makes texts: a run, or another model with its task."""

    task: Task
    model: Any
    parameters: Parameters


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """What `Loaded.generate` is asked for, which says what each option is.

    Raises ConfigurationError for what cannot be, whatever the model.
    """

    tokens: int = 100
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    beams: int = 0
    length_penalty: float | None = None
    stop: str | Sequence[str] = ()
    seed: int = 0
    draws: int = 1

    def __post_init__(self):
        for name, least in (("tokens", 1), ("top_k", 0), ("beams", 0), ("draws", 1)):
            at_least(least, of="generate", **{name: getattr(self, name)})
        for name, fine, allowed in self._ranges():
            holds(fine, allowed, of="generate", **{name: getattr(self, name)})
        if self.beams:
            self.refuse_drawing(f"beams={self.beams} searches and draws nothing")

    def _ranges(self) -> Iterator[tuple[str, bool, str]]:
        """(option, whether its value is allowed, what is allowed)."""
        warmth, penalty, last = self.temperature, self.repetition_penalty, SEED_LIMIT - 1
        yield "temperature", 0 <= warmth < math.inf, "0 (greedy) or more"
        yield "top_p", 0 < self.top_p <= 1, "above 0 to 1 (all)"
        yield "min_p", 0 <= self.min_p <= 1, "0 (all) to 1"
        yield "repetition_penalty", 0 < penalty < math.inf, "above 0; 1 for none"
        yield "stop", all(self.stops), "texts of a character or more"
        yield "seed", 0 <= self.seed < SEED_LIMIT, f"0 to {last}, of drawing: --draw of the command"
        highest = SEED_LIMIT - self.seed
        yield "draws", self.draws <= highest, f"1 to {highest}: seeds of drawing end at {last}"
        if self.length_penalty is not None:
            finite = math.isfinite(self.length_penalty)
            yield "length_penalty", finite, "a number; 0 for none"

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def choice(self) -> Choice:
        """How a token is drawn."""
        return Choice(*(getattr(self, name) for name in Choice._fields))

    def each(self) -> list[Self]:
        """The options of every draw by itself."""
        return [dataclasses.replace(self, seed=self.seed + n, draws=1) for n in range(self.draws)]

    def refuse_drawing(self, reason: str) -> None:
        """ConfigurationError where an option of drawing is not at its default."""
        self._refuse(DRAWING, reason)

    def refuse_search(self, reason: str, also: Sequence[str] = ()) -> None:
        """ConfigurationError where an option of a search, or of `also`, is not at its default."""
        self._refuse(("beams", "length_penalty", *also), reason)

    def _refuse(self, names: Sequence[str], reason: str) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise ConfigurationError(f"generate: {reason}; leave out {field.name}={value!r}")


def stream(speaker: Speaker, prompt: str, options: TextOptions) -> Iterator[str]:
    """The text of one draw in pieces, each as soon as it is there.

    Raises ConfigurationError, before anything is compiled, for what the model cannot do.
    """
    task, model, parameters = speaker.task, speaker.model, speaker.parameters
    asked = _asked(speaker, prompt, options)
    platform = machine.platform()
    if isinstance(asked, Blanks):
        ids = filled(model, parameters, asked, platform)
        yield task.text_of(np.asarray(ids)[0])
    elif search := search_of(task, options):
        ending = functools.partial(_ended, task, options.stops) if options.stops else None
        ids = searched(model, parameters, asked, search, platform, ending)
        yield from until([task.text_of(np.asarray(ids)[0])], options.stops)
    else:
        key = jax.random.key(options.seed)
        ids = continuation(model, parameters, asked, key, options.choice, platform)
        yield from until(_pieces(task, ids), options.stops)


def search_of(task: Task, options: TextOptions) -> Search | None:
    """The search that is asked for; None where the text is drawn."""
    if not (options.beams or task.decodes):
        return None
    own, penalty = task.search, options.length_penalty
    alpha = own.length_penalty if penalty is None else penalty
    return Search(options.beams or own.beam, alpha)


def _ended(task: Task, stops: Sequence[str], added: np.ndarray, finished: np.ndarray) -> np.ndarray:
    """Which hypotheses hold a text at which they end; those that are finished are not looked at."""
    return np.array(
        [
            not done and any(stop in task.text_of(ids) for stop in stops)
            for ids, done in zip(added, finished, strict=True)
        ]
    )


def _pieces(task: Task, drawn: Iterator[int]) -> Iterator[str]:
    """What each token adds to the text; bytes that make no character yet wait for more."""
    ids: list[int] = []
    said = ""
    for token in drawn:
        ids.append(token)
        text = task.text_of(np.array(ids)).rstrip(WAITING)
        if len(text) > len(said) and text.startswith(said):
            yield text[len(said) :]
            said = text
    yield task.text_of(np.array(ids, np.int32))[len(said) :]


def until(pieces: Iterator[str] | Sequence[str], stops: Sequence[str]) -> Iterator[str]:
    """The pieces of a text up to the first of the stops in it. What may begin one waits."""
    held = ""
    for piece in pieces:
        held += piece
        if found := [at for stop in stops if (at := held.find(stop)) >= 0]:
            held = held[: min(found)]
            break
        kept = max((_begun(held, stop) for stop in stops), default=0)
        if said := held[: len(held) - kept]:
            yield said
        held = held[len(held) - kept :]
    if held:
        yield held


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _asked(speaker: Speaker, prompt: str, options: TextOptions) -> Prompt | Blanks:
    """The prompt as the model reads it."""
    task, model = speaker.task, speaker.model
    if task.decodes:
        options.refuse_drawing(f"task.kind={task.kind!r} is searched for, and nothing is drawn")
    try:
        asked = task.written_prompt(prompt, options.tokens)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"generate: the prompt {prompt!r}: {error}") from None
    if isinstance(asked, Blanks):
        reason = "each [MASK] takes its most probable token"
        options.refuse_drawing(reason)
        options.refuse_search(reason, also=("stop",))
        return asked
    if not (options.beams or task.decodes):
        options.refuse_search("length_penalty is of a search, which beams=4 asks for")
    there = asked.entries or task.vocabulary
    for name, none in (("top_k", "all"), ("beams", "the task's" if task.decodes else "no search")):
        value, allowed = getattr(options, name), f"0 ({none}) to {there}, the tokenizer's entries"
        holds(value <= there, allowed, of="generate", **{name: value})
    _check_length(model, asked)
    return asked


def _check_length(model: Any, asked: Prompt) -> None:
    """ConfigurationError where positions are learned, and fewer than are needed."""
    longest, learned = asked.tokens.shape[1] + asked.steps, model.embedding.module.limit
    if learned and longest > learned:
        raise ConfigurationError(
            f"generate: prompt and tokens need {longest} positions; the model has learned "
            f"{learned}: say tokens={max(1, learned - asked.tokens.shape[1])}"
            + (" and a shorter prompt" if asked.tokens.shape[1] >= learned else "")
        )
