"""Run by gpu.sh: what only a machine with an accelerator can show, a JSON object a check.

    python -m tests.gpu parity attention bfloat16
    python -m tests.gpu parity:vanilla,sandwich       some of the cases of tests/devices

parity     loss and gradients of one batch, on the accelerator and on this machine's CPU, in float32
attention  the path that attention takes in bfloat16, and how far it is from the plain one
bfloat16   a small model trained in bfloat16 and in float32: how far apart they end
"""

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from arch import config
from arch.devices import scopes
from arch.sublayers.attention import dot_product
from arch.training.program import Program, build
from arch.training.replica import STEPS_A_DISPATCH, Replica
from arch.training.state import Swept
from tests.devices.eight_devices import Case, apart, cases, configuration

ALONE = (1, 1, 1, 1)
PARITY, FUSED, HALF = 1e-3, 2e-2, 0.05  # the largest relative differences that pass
TEXT = "an order of sublayers is a string to be read twice\n" * 200


def parity(corpus: str, platform: str, names: list[str]) -> Iterator[dict]:
    """Of cases of the tests of meshes, without dropout, whose bits differ by platform."""
    known = cases(corpus)
    for name in names or known:
        model, task, train = known[name]
        case = Case(({**model, "dropout": 0.0}, task, train))
        grads, loss = _gradients(case, "cpu")
        found, other = _gradients(case, platform)
        far = max(apart(other, loss), apart(found, grads))
        yield {"case": name, "apart": far, "passed": far < PARITY}


def _gradients(case: Case, platform: str):
    program = Program(configuration(case.parts, ALONE), case.task, case.model, platform)

    def run(parameters, source, schedule):
        seed = jnp.int32(0)
        indices = program.replica.indices(seed, jnp.int32(0), case.task.batches[0])
        gathered = case.task.batches[0].gather(source, indices)
        key, rate = jax.random.key(seed), jnp.float32(0)
        return Replica.gradients(program.replica, parameters, gathered, key, rate, schedule)

    parameters = jax.tree.map(lambda a: a[0], case.states(1).parameters)
    inputs = jax.device_put((parameters, case.source, program.schedule), jax.devices(platform)[0])
    with jax.default_matmul_precision("highest"):
        grads, sums = jax.device_get(jax.jit(run)(*inputs))
    return grads, sums["loss"][0] / sums["loss"][1]


def attention(corpus: str, platform: str, lengths: list[str]) -> Iterator[dict]:
    """Causal self-attention and its gradient, at some lengths."""
    for length in map(int, lengths or ("256", "1024", "4096")):
        keys = jax.random.split(jax.random.key(length), 3)
        q, k, v = (jax.random.normal(key, (2, length, 8, 64), jnp.bfloat16) for key in keys)

        def total(q, k, v, path):
            y, _ = dot_product.attend(
                q, k, v, causal=True, window=0, mask=None, dropping=None, want_weights=False,
                path=path, platform=platform,
            )  # fmt: skip
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        def run(path, total=total):
            return jax.grad(functools.partial(total, path=path), (0, 1, 2), has_aux=True)

        with scopes.letter("s"):
            compiled = jax.jit(run("auto")).lower(q, k, v).compile()
        text = compiled.as_text() or ""
        paths = sorted({p for p in dot_product.PATHS if f"attention:{p}" in text})
        widened = functools.partial(jax.tree.map, lambda a: a.astype(jnp.float32))
        found, expected = (
            jax.device_get(widened(of(q, k, v))) for of in (compiled, jax.jit(run("plain")))
        )
        far, fused = apart(found, expected), "__cudnn$fmha" in text
        right = fused == (platform == "gpu")
        yield {"length": length, "paths": paths, "fused": fused, "apart": far,
               "passed": right and far < FUSED}  # fmt: skip


def bfloat16(corpus: str, platform: str, _: list[str]) -> Iterator[dict]:
    """The mean training loss of the last ten of sixty steps."""
    ends = {}
    for dtype in ("float32", "bfloat16"):
        model, task, train = cases(corpus)["vanilla"]
        settings = config.make(
            model={**model, "dtype": dtype, "width": 64},
            task=task,
            train={**train, "batch": 16, "steps": 60, "optimizer": {"learning_rate": 3e-3}},
            seeds=(0,),
        )
        ends[dtype] = _trained(settings, platform)
    far = abs(ends["bfloat16"] / ends["float32"] - 1)
    yield {"losses": ends, "apart": far, "passed": far < HALF}


def _trained(settings, platform: str) -> float:
    task, model = build(settings, platform)
    program = Program(settings, task, model, platform)
    state, swept = program.init(np.arange(1)), jax.tree.map(jnp.asarray, Swept.of([(settings, 0)]))
    losses = []
    while len(losses) < settings.train.steps:
        count = min(STEPS_A_DISPATCH, settings.train.steps - len(losses))
        source = jax.tree.map(jnp.asarray, task.source())
        state, metrics = program.train(state, swept, source, len(losses), count)
        losses += np.asarray(metrics["loss"])[0, :count].tolist()
    return float(np.mean(losses[-10:]))


CHECKS: dict[str, Callable[[str, str, list[str]], Iterator[dict]]] = {
    "parity": parity, "attention": attention, "bfloat16": bfloat16,
}  # fmt: skip


def main(words: list[str]) -> int:
    """Run these checks; 1 where one fails."""
    platform = os.environ.get("GPU_PLATFORM", "gpu")
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        for split in ("train", "valid", "test"):
            (Path(folder) / f"{split}.txt").write_text(TEXT)
        for word in words:
            name, _, some = word.partition(":")
            chosen = some.split(",") if some else []
            for found in CHECKS[name](f"file:{folder}", platform, chosen):
                print(json.dumps({"check": name, "platform": platform, **found}), flush=True)
                passed &= found["passed"]
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
