"""`generate`: a language model goes on with a text, an encoder-decoder translates it, a masked
language model fills in its [MASK]s."""

from arch.commands import flags
from arch.notebook import run as notebook


def run(command: flags.Generate) -> int:
    """Print the text that one seed of the run makes of the prompt."""
    loaded = notebook.load(command.directory, command.seed, trust=command.trust)
    print(
        loaded.generate(
            command.prompt,
            tokens=command.tokens,
            temperature=command.temperature,
            top_k=command.top_k,
            key=command.draw,
        )
    )
    return 0
