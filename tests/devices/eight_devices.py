"""Run by test_mesh.py in a process of its own: this one has eight devices. Prints a JSON object a
comparison with one device: {case, mesh, loss, gradient: relative differences}."""

import dataclasses
import functools
import itertools
import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from arch import config, variants
from arch.registry import Config, get
from arch.runs.checkpoints import Checkpoints
from arch.training.program import Program, build
from arch.training.replica import Replica

# (replicas, data, fsdp, tensor)
MESHES = [(1, 8, 1, 1), (1, 2, 4, 1), (1, 2, 2, 2), (4, 2, 1, 1)]


def language(corpus: str, **more) -> dict:
    return {"corpus": corpus, "tokenizer": "bytes", "length": 16, **more}


def small(model: dict, **changes) -> dict:
    """A variant with sublayers of two heads and an inner width of 16, and model fields changed."""
    letters = {k: dict(v) for k, v in model["sublayers"].items()}
    for letter in letters.values():
        if "heads" in letter:
            letter["heads"] = 2
        if letter["kind"] == "feed_forward":
            letter.pop("expand", None)
            letter |= {"inner_width": 16, "chunk": 0}
        if letter["kind"] == "mixture_of_experts":
            letter |= {"inner_width": 16, "experts": 4}
        if letter["kind"] == "lsh_attention":
            letter |= {"chunk": 4, "rounds": 2}
    return {**model, "sublayers": letters, "width": 8, **changes}


def cases(corpus: str) -> dict[str, tuple[dict, dict, dict]]:
    """name → (model, task, train)."""
    albert = variants.albert("base", dropout=0.0)
    pairs = {"kind": "algorithmic", "length": 16}
    aligned = {"kind": "algorithmic_bins"}
    text = language(corpus)
    jamba = variants.jamba(8, heads=2, experts=4)
    experts = variants.vanilla(1, sublayers={"e": {"kind": "mixture_of_experts", "capacity": 1.0}})
    return {
        "vanilla": (small(variants.vanilla(1), head={"chunk": 64}), text, {}),
        "sandwich": (
            small(variants.sandwich(2, 1), dropout=0.1),
            text,
            {"accumulate": 2},
        ),
        "universal": (small(variants.universal("tiny", "act", dropout=0.0)), pairs, {}),
        "albert": (
            small(albert, order="(sf)2", embedding={**albert["embedding"], "size": 8}),
            language(corpus, kind="masked_language_model"),
            {},
        ),
        "reformer": (small(variants.reformer("enwik8"), order="(sf)2"), text, {}),
        "shuffle_exchange": (small(variants.shuffle_exchange()), aligned, {}),
        "experts": (small(experts, order="se"), text, {"accumulate": 2}),
        "jamba": (small(jamba, order="mfse"), text, {}),
        "neural_gpu": (small(variants.neural_gpu()), aligned, {}),
        "transformer": (small(variants.transformer(1)), pairs, {"accumulate": 2}),
    }


def configuration(case: tuple[dict, dict, dict], mesh: tuple[int, ...]) -> Config:
    model, task, train = case
    _, data, fsdp, tensor = mesh
    train = {**train, "batch": 16, "replicas": "vmap", "steps": 4}
    return config.make(
        model=model,
        task=task,
        train={**train, "mesh": {"data": data, "fsdp": fsdp, "tensor": tensor}},
    )


class Case:
    """A configuration's loss and gradients of one batch for some replicas, on any mesh."""

    def __init__(self, parts: tuple[dict, dict, dict]):
        self.parts = parts
        self.task, self.model = build(configuration(parts, (1, 1, 1, 1)))
        self.source = self.task.source()
        self.alone = Program(configuration(parts, (1, 1, 1, 1)), self.task, self.model)
        self.states = functools.cache(lambda n: jax.device_get(self.alone.init(np.arange(n))))

    def run(self, mesh: tuple[int, ...], replicas: int):
        settings = configuration(self.parts, mesh)
        devices = jax.devices()[: np.prod(mesh)]
        program = Program(settings, self.task, self.model, devices=devices)
        layout = program.layout(replicas)
        if layout.mesh is not None:
            assert tuple(layout.mesh.shape.values()) == mesh, (layout.mesh, mesh)
        replica = dataclasses.replace(program.replica, mesh=layout.mesh)
        parameters = layout.place(self.states(replicas).parameters)

        def gradients(parameters, seed, source, schedule):
            indices = replica.indices(seed, jnp.int32(0), self.task.batches[0])
            gathered = self.task.batches[0].gather(source, indices)
            key, rate = jax.random.key(seed), jnp.float32(settings.model.dropout)
            return Replica.gradients(replica, parameters, gathered, key, rate, schedule)

        seeds = layout.place(jnp.arange(replicas))
        shared = layout.place_everywhere((self.source, program.schedule))
        run = jax.jit(layout.over_replicas(gradients, 2))
        grads, sums = jax.device_get(run(parameters, seeds, *shared))
        return grads, sums["loss"][0] / sums["loss"][1]


def apart(found, expected) -> float:
    """The largest difference of a leaf, over its largest element or a hundredth of the tree's."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    floor = max(np.abs(b).max(initial=0) for _, b in pairs) / 100
    return max(float(np.abs(a - b).max(initial=0) / np.abs(b).max(initial=floor)) for a, b in pairs)


def compare(name: str, parts: tuple, meshes: list[tuple[int, ...]]) -> None:
    case, alone = Case(parts), {}
    for mesh in meshes:
        replicas = mesh[0]
        if replicas not in alone:
            alone[replicas] = case.run((1, 1, 1, 1), replicas)
        grads, loss = case.run(mesh, replicas)
        expected, whole = alone[replicas]
        line = {"case": name, "mesh": mesh, "loss": apart(loss, whole)}
        print(json.dumps({**line, "gradient": apart(grads, expected)}), flush=True)


def checkpoints(parts: tuple) -> None:
    """A state saved on each mesh is, on each other and on one device, the same to the last bit."""
    case, every = Case(parts), [(1, 1, 1, 1), *MESHES[:3]]
    programs = {}
    for mesh in every:
        settings = configuration(parts, mesh)
        assert get(settings, "train.mesh.data") == mesh[1]
        programs[mesh] = Program(
            settings, case.task, case.model, devices=jax.devices()[: np.prod(mesh)]
        )
    for number, (saved, loaded) in enumerate(itertools.product(every, every)):
        if saved == loaded:
            continue
        state = jax.device_get(programs[saved].init(np.array([number])))
        row = jax.tree.map(lambda a: a[0], state)
        with tempfile.TemporaryDirectory() as folder:
            kept = Checkpoints(Path(folder) / "checkpoints")
            kept.save(1, row, {"step": 1})
            kept.wait()
            restored, _ = kept.restore(1, programs[loaded].shapes())
            kept.close()
        placed = programs[loaded].place(jax.tree.map(lambda a: a[None], restored))
        same = jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), jax.device_get(placed), state)
        print(json.dumps({"saved": saved, "loaded": loaded, "same": all(jax.tree.leaves(same))}))


def main(corpus: str, names: list[str]) -> None:
    known = cases(corpus)
    for word in names:
        name, _, numbers = word.partition(":")
        meshes = [MESHES[int(number)] for number in numbers] if numbers else MESHES
        if name == "checkpoints":
            checkpoints(known["vanilla"])
        else:
            compare(name, known[name], meshes)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
