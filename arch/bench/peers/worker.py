"""The process of a peer, `python -m arch.bench.peers.worker`: it imports PyTorch, and no jax.

On a GPU a peer's loss is compiled by `torch.compile`, float32 products take TF32's as XLA's do, and
bfloat16 ones are autocast.
"""

import importlib
import importlib.metadata
import platform
import time
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from arch.bench.peers.kinds import PEERS
from arch.bench.peers.sizes import Sizes
from arch.bench.protocol import serve, steps_in
from arch.runs import provenance

TOKENS = 1 << 20  # of the made-up text that batches are drawn from; its values cost nothing
FIRST = 3  # steps before the first turn


class PeerSide:
    """A peer in training: forward, cross-entropy, backward, clipping and AdamW on each batch.

    Args:
        peer: its name. path: the folder behind its colon. sizes: the fields of `Sizes`.
        device: cpu | cuda, as PyTorch names it. product: side of the square product by which the
            library's ceiling is measured.
    """

    def __init__(self, peer: str, path: str, sizes: dict[str, Any], device: str, product: int):
        torch.set_num_threads(provenance.cores())
        torch.set_default_device(device)
        torch.manual_seed(0)
        self.sizes, self.device = Sizes(**sizes), device
        kind = PEERS[peer]
        build = importlib.import_module(kind.module).build
        self.model, self.loss, self.optimizer = build(self.sizes, path)
        if device == "cuda":
            torch.set_float32_matmul_precision("high")
            self.loss = torch.compile(self.loss)
        self.text = torch.randint(self.sizes.vocabulary, (TOKENS,))
        self.model.train()
        self._steps(FIRST)
        self.seconds = self._steps(FIRST) / FIRST
        versions = {name: importlib.metadata.version(name) for name in kind.packages}
        self.about = {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "versions": {"python": platform.python_version(), **versions},
            "threads": torch.get_num_threads(),
        }
        self._product = self._timed_product(product)

    def train(self, seconds: float) -> dict[str, float]:
        """Train for about so long, after a tenth of it that is not counted."""
        count = steps_in(seconds / 10, self.seconds)
        count = steps_in(seconds, self._steps(count) / count)
        taken = self._steps(count)
        self.seconds = taken / count
        return {"tokens": count * self.sizes.batch * self.sizes.length, "seconds": taken}

    def product(self) -> dict[str, float]:
        """FLOP/s of a square product of this library, in the dtype of training."""
        return {"flops": self._product()}

    def _steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            loss = self._step()
        loss.item()
        return time.perf_counter() - start

    def _step(self) -> Any:
        s = self.sizes
        offsets = torch.randint(TOKENS - s.length, (s.batch, 1))
        window = self.text[offsets + torch.arange(s.length + 1)]
        with torch.autocast(self.device, torch.bfloat16, enabled=s.dtype == "bfloat16"):
            loss = self.loss(window[:, :-1].contiguous(), window[:, 1:].contiguous())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if s.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        self.optimizer.step()
        return loss

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _timed_product(self, side: int) -> Callable[[], float]:
        a = torch.randn(side, side, dtype=getattr(torch, self.sizes.dtype))
        torch.matmul(a, a)

        def timed() -> float:
            self._wait()
            start = time.perf_counter()
            torch.matmul(a, a)
            self._wait()
            return 2 * side**3 / (time.perf_counter() - start)

        return timed


if __name__ == "__main__":
    serve(PeerSide)
