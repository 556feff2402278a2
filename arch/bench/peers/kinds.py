"""The peers by name, and what each can run. Nothing is imported here."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from arch.registry import ConfigurationError, suggestion


@dataclass(frozen=True)
class Peer:
    """A library, or a file, that trains decoders.

    Attributes:
        module: with `build(sizes, path)`.
        packages: what it imports.
        attention, stack: the kinds of ours that it has a counterpart of.
        ties: whether it can have the same weights at every depth, as ALBERT and a Universal
            Transformer do.
        activations: of the feed-forward.
        needs: the file of a checkout that is named behind a colon; '' where none is.
        generates: whether its module has `continued(model, ids, tokens)`, which makes text.
    """

    module: str
    packages: tuple[str, ...]
    attention: str = "attention"
    stack: str = "sequential"
    ties: bool = False
    activations: tuple[str, ...] = ("relu", "gelu", "gelu_tanh", "silu")
    needs: str = ""
    generates: bool = False


PEERS = {
    "torch": Peer("arch.bench.peers.plain", ("torch",), ties=True),
    "x-transformers": Peer(
        "arch.bench.peers.xtransformers", ("torch", "x_transformers"), ties=True
    ),
    "hf-gpt2": Peer("arch.bench.peers.gpt2", ("torch", "transformers"), generates=True),
    "hf-reformer": Peer(
        "arch.bench.peers.reformer", ("torch", "transformers"), "lsh_attention", "reversible"
    ),
    "nanogpt": Peer(
        "arch.bench.peers.nanogpt", ("torch",), activations=("gelu",), needs="model.py"
    ),
}


@dataclass(frozen=True)
class Chosen:
    """A peer as it was typed: `name`, and the folder behind its colon."""

    name: str
    path: str = ""

    @property
    def peer(self) -> Peer:
        return PEERS[self.name]


def choose(text: str) -> list[Chosen]:
    """The peers of --against=a,b:PATH.

    Raises ConfigurationError for an unknown one, one that is not installed, and a PATH without the
    file that is needed.
    """
    chosen = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, path = part.partition(":")
        if name not in PEERS:
            raise ConfigurationError(
                f"--against={part}: there are {', '.join(PEERS)}{suggestion(name, PEERS)}"
            )
        _check(Chosen(name, path), part)
        chosen.append(Chosen(name, path))
    if len({one.name for one in chosen}) < max(1, len(chosen)):
        raise ConfigurationError(f"--against={text}: expected peers, each once: {', '.join(PEERS)}")
    return chosen


def _check(one: Chosen, part: str) -> None:
    needs = one.peer.needs
    if bool(needs) != bool(one.path):
        expected = f"{one.name}:PATH, the folder of its {needs}" if needs else one.name
        raise ConfigurationError(f"--against={part}: expected {expected}")
    if needs and not (Path(one.path) / needs).is_file():
        raise ConfigurationError(f"--against={part}: no {needs} there; expected a checkout")
    missing = [name for name in one.peer.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"--against={part}: {' and '.join(missing)} not installed; say "
            "python -m pip install -e '.[peers]'"
        )
