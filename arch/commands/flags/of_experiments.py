"""The commands that take an experiment's file, with their flags."""

import dataclasses

from arch.commands.contract import flag
from arch.commands.flags.base import Answers, Configured, Trains


@dataclasses.dataclass(frozen=True, kw_only=True)
class Describe(Configured, Answers):
    name = "describe"
    summary = "order, parameters, FLOPs and memory of every cell"
    examples = (
        "--config=experiments/sandwich.py",
        "--config=experiments/sandwich.py:scale=paper --cells='k[0135]' --json",
        "--config=experiments/sandwich.py --cells=k0 --parameters",
    )

    cells: str = flag(
        "--cells", "*", metavar="GLOB,…", help="the cells whose names match", otherwise="*, all"
    )
    parameters: bool = flag("--parameters", False, help="every parameter: path, shape, dtype")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Configured, Answers):
    name = "plan"
    summary = "a training step compiled for hardware that is not here: memory, time, chip-hours"
    examples = (
        "--config=experiments/sandwich.py:scale=paper --topology=v5e:4x4",
        "--config=experiments/sandwich.py:scale=paper --topology=h100:1x1x8 --cell=k6 --json",
        "--all --topology=v5e:4x4",
    )

    config: str = flag(
        "--config", "", metavar="FILE[:name=value,…]",
        help="the experiment's file and its arguments, as elsewhere; --config.a.b=value sets a "
        "field",
        otherwise="none; it or --all is needed",
    )  # fmt: skip
    all: bool = flag(
        "--all", False,
        help="the paper scale of every file in experiments/, of each the cell with the most FLOPs; "
        "lines and tables go to results/plan/, and what stands there is not compiled again",
    )  # fmt: skip
    minutes: float = flag(
        "--minutes", 10.0, metavar="N", help="the most that --all compiles for one experiment"
    )

    topology: str = flag(
        "--topology",
        metavar="CHIP:SHAPE",
        help="the chips and how they are joined: a TPU as v5e:4x4, v5p:2x2x1, v6e:2x4; a GPU as "
        "h100:1x1x8 (slices, hosts, devices), a100, h200; one device without a shape",
    )
    cell: str = flag("--cell", "", metavar="NAME", help="the cell's name", otherwise="the first")
    efficiency: float = flag(
        "--efficiency", 0.5, metavar="SHARE",
        help="share of the chip's peak that matrix products reach, above 0 to 1",
    )  # fmt: skip
    every_mesh: bool = flag("--every-mesh", False, help="try all meshes, not data and fsdp alone")
    first: bool = flag("--first", False, help="stop at the first mesh that fits; --all does")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Trains):
    name = "run"
    summary = "train one cell"
    examples = (
        "--config=experiments/sandwich.py --cell=k3",
        "--config=experiments/sandwich.py --config.model.order='s3(sf)5f3' --name=mine",
    )

    cell: str = flag(
        "--cell", "", metavar="NAME", help="the cell's name",
        otherwise="the configuration of get_config",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Trains):
    name = "sweep"
    summary = "train cells × seeds"
    examples = (
        "--config=experiments/sandwich.py --cells='k[0135]' --seeds=5",
        "--config=experiments/sandwich.py:scale=small --config.model.stack.share=s --dry-run",
        "--config=experiments/sandwich.py --executor=processes",
    )

    cells: str = flag(
        "--cells", "*", metavar="GLOB,…", help="the cells whose names match", otherwise="*, all"
    )
    dry_run: bool = flag("--dry-run", False, help="say what would be trained, and train nothing")
    executor: str = flag(
        "--executor", "local", metavar="NAME[:option=value,…]",
        help="who trains, as slurm:partition=gpu,gpus=1 or ray:address=auto: this process, a "
        "process per core or GPU, or a cluster; `launch.py list` has their options, and a plugin "
        "may add another",
        allowed=("local", "processes", "ray", "slurm"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Sweep):
    name = "search"
    summary = "look for orders: random and evolved ones, by successive halving"
    examples = ("", "--config='experiments/search.py:space=parameters,budget=2e7' --dry-run")

    config: str = flag(
        "--config", "experiments/search.py", metavar="FILE[:name=value,…]",
        help="the file of the search; its text says what space, start, budget, … are",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare(Configured):
    name = "prepare"
    summary = "fetch, check and tokenise the corpus"
    examples = (
        "--config=experiments/ptb.py",
        "--config=experiments/sandwich.py:corpus=tinyshakespeare",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench(Configured):
    name = "bench"
    summary = "tokens/s, utilisation, compile seconds, peak memory; beside other libraries"
    examples = (
        "--config=experiments/sandwich.py --cells='k[03]'",
        "--config=experiments/sandwich.py --cells=k0 --against=torch,x-transformers,hf-gpt2",
        "--config=experiments/shakespeare.py --against=nanogpt:../nanoGPT",
        "--config=experiments/sandwich.py --cells=k0 --generate=512 --against=hf-gpt2",
    )

    cells: str = flag(
        "--cells", "*", metavar="GLOB,…", help="the cells whose names match", otherwise="*, all"
    )
    against: str = flag(
        "--against", "", metavar="PEER,…",
        help="torch, x-transformers, hf-gpt2, hf-reformer or nanogpt:PATH: train each cell in turn "
        "with these at the same sizes, each in a process of its own; adds the ratios, and where a "
        "step of ours goes, to results/benchmarks/",
        otherwise="ours alone",
    )  # fmt: skip
    generate: int = flag(
        "--generate", 0, metavar="N",
        help="make texts of N tokens instead of training, by cached steps and computed anew, in "
        "turn; with --against=hf-gpt2 also by transformers, and the ratios are added there",
        otherwise="0, train",
    )  # fmt: skip
