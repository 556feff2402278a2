"""The process of a peer that makes text, `python -m arch.bench.peers.generating`."""

import importlib
import importlib.metadata
import platform
import time
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from arch.bench.peers.kinds import PEERS
from arch.bench.peers.sizes import Sizes
from arch.bench.protocol import serve
from arch.runs import provenance


class PeerTexts:
    """A peer at its initial weights, which goes on with a prompt greedily.

    Args:
        peer: its name. path: the folder behind its colon. sizes: the fields of `Sizes`.
        prompt: tokens of the prompt. tokens: of a text, after its prompt.
    """

    def __init__(self, peer: str, path: str, sizes: dict[str, Any], prompt: int, tokens: int):
        torch.set_num_threads(provenance.cores())
        torch.manual_seed(0)
        kind = PEERS[peer]
        self.module, self.tokens = importlib.import_module(kind.module), tokens
        self.model = self.module.build(Sizes(**sizes), path)[0].eval()
        self.ids = torch.randint(sizes["vocabulary"], (1, prompt))
        self._text()
        versions = {name: importlib.metadata.version(name) for name in kind.packages}
        self.about = {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "versions": {"python": platform.python_version(), **versions},
            "threads": torch.get_num_threads(),
        }

    def text(self, seconds: float) -> dict[str, float]:
        """Tokens made in about so long, in whole texts, their prompts included."""
        start, texts = time.perf_counter(), 0
        while (taken := time.perf_counter() - start) < seconds:
            self._text()
            texts += 1
        return {"tokens": texts * self.tokens, "seconds": taken}

    def _text(self) -> None:
        with torch.inference_mode():
            self.module.continued(self.model, self.ids, self.tokens)


if __name__ == "__main__":
    serve(PeerTexts)
