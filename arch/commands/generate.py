"""`generate`: a language model goes on with a text, an encoder-decoder translates it, a masked
language model fills in its [MASK]s."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from arch.checks import at_least
from arch.commands import flags
from arch.commands.answers import answer
from arch.models.generation import uncached
from arch.notebook import run as notebook
from arch.notebook.loaded import Loaded
from arch.registry import ConfigurationError


def run(command: flags.Generate) -> int:
    """Print each prompt, and as it comes the text that one seed of the run makes of it."""
    at_least(1, of="generate", draws=command.draws)
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
        for draw in range(command.draw, command.draw + command.draws):
            pieces = _pieces(loaded, prompt, command, draw)
            if command.json:
                made = {"prompt": prompt, "text": "".join(pieces), "draw": draw}
                answer({"run": command.directory, **loaded.origin, **made})
            else:
                _print(loaded, prompt, pieces)
    return 0


def _pieces(loaded: Loaded, prompt: str, command: flags.Generate, draw: int) -> Iterator[str]:
    return loaded.stream(
        prompt,
        tokens=command.tokens,
        temperature=command.temperature,
        top_k=command.top_k,
        top_p=command.top_p,
        seed=draw,
    )


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
