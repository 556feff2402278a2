"""`generate`: a language model goes on with a text, an encoder-decoder translates it, a masked
language model fills in its [MASK]s."""

import dataclasses
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from arch.commands import flags
from arch.commands.answers import answer
from arch.models.generation import uncached
from arch.notebook import run as notebook
from arch.notebook import texts
from arch.notebook.loaded import Loaded
from arch.notebook.texts import TextOptions
from arch.registry import ConfigurationError


def run(command: flags.Generate) -> int:
    """Print each prompt, and as it comes the text that one seed of the run makes of it."""
    options = _options(command)
    prompts = _prompts(command)
    if isinstance(sys.stdout, io.TextIOWrapper):  # bytes that are no text, or a narrow encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    loaded = notebook.load(command.directory, command.seed, trust=command.trust)
    if loaded.goes_on and (kinds := uncached(loaded.model)):
        print(
            f"{', '.join(kinds)}: no cached steps; every token is computed from the whole text",
            file=sys.stderr,
        )
    for prompt in prompts:
        for one in options.each():
            pieces = texts.stream(loaded, prompt, one)
            if command.json:
                made = {"prompt": prompt, "text": "".join(pieces), "draw": one.seed}
                answer({"run": command.directory, **loaded.origin, **made})
            else:
                _print(loaded, prompt, pieces)
    return 0


def _options(command: flags.Generate) -> TextOptions:
    """What is asked for: the command's options by their names, but --draw, the seed of drawing."""
    names = {field.name for field in dataclasses.fields(TextOptions)} - {"seed"}
    return TextOptions(seed=command.draw, **{name: getattr(command, name) for name in names})


def _print(loaded: Loaded, prompt: str, pieces: Iterator[str]) -> None:
    first = next(pieces, "")  # raises what there is to refuse before anything is printed
    if loaded.goes_on:
        words = loaded.tokenizer.unit == "word"
        space = words and not (prompt[-1:].isspace() or first[:1].isspace())
        print(prompt + " " * space, end="", flush=True)
    print(first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print(flush=True)


def _prompts(command: flags.Generate) -> list[str]:
    if bool(command.prompt) == bool(command.prompts):
        raise ConfigurationError("expected either --prompt=TEXT or --prompts=FILE, a prompt a line")
    if command.prompt:
        return [command.prompt]
    if command.prompts == "-":
        text = sys.stdin.read()
    else:
        text = Path(command.prompts).expanduser().read_text("utf-8-sig")
    found = [line for line in text.split("\n") if line.strip()]
    if not found:
        raise ConfigurationError(f"--prompts={command.prompts}: no line in it has a text")
    return found
