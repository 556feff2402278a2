"""The commands of launch.py with their flags; the body of each is the file of its name."""

import dataclasses
from collections.abc import Mapping

from arch.commands.contract import Command, flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configured(Command):
    """A command that takes --config, and --config.a.b=value in `overrides`."""

    config: str = flag(
        "--config", metavar="FILE[:name=value,…]",
        help="the experiment's file; its arguments, and letters bound to kinds (s=lsh_attention), "
        "follow a colon. --config.a.b=value sets a field of every cell, last; --config.a.b=1,2 of "
        "a field that takes one value makes a cell of each cell for each value",
    )  # fmt: skip
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trains(Configured):
    """A command that trains."""

    seeds: str = flag(
        "--seeds", "", metavar="5|100-104|1,3|3x3",
        help="how many, a range or a list, instead of the configuration's; 3x3: three of "
        "initialisation crossed with three of data, to tell which of them the spread comes from",
    )  # fmt: skip
    ladder: str = flag(
        "--ladder", "", metavar="FIELD=V,V,…",
        help="values of a field, as train.optimizer.learning_rate=5e-4,1e-3,2e-3: each cell is "
        "tried with all of them on the seeds of --pilot, and trained with its best one on others",
    )  # fmt: skip
    pilot: str = flag(
        "--pilot", "", metavar="100-101|7,9",
        help="the seeds that choose on a --ladder; no other figure has them",
    )  # fmt: skip
    directory: str = flag(
        "--name", "", metavar="NAME",
        help="of runs/NAME and results/NAME; else the file's name and what was typed beside it",
    )  # fmt: skip
    replicas: str = flag(
        "--replicas", "auto", metavar="auto|N",
        help="most seeds and cells that train in one program; auto: as many as fit",
    )  # fmt: skip
    rerun: str = flag(
        "--rerun", "", metavar="GLOB", help="start these cells over; what they have is kept beside"
    )
    keep: bool = flag(
        "--keep", False,
        help="where the name holds a cell in another configuration: have both in one table",
    )  # fmt: skip
    reuse: bool = flag(
        "--reuse", False,
        help="what results/ has of the same configuration, seed and kind of device is not trained",
    )  # fmt: skip
    fresh: bool = flag(
        "--fresh", False,
        help="train here, whatever is finished of the same configuration under another name",
    )  # fmt: skip
    strict: bool = flag(
        "--strict", False,
        help="go on with nothing that another processor, core count or version began: its bits "
        "may differ",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loads(Command):
    """A command that loads what was trained."""

    trust: bool = flag(
        "--trust", False,
        help="import the plugins in a run's folder, also those that are not files of your own",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class List(Command):
    name = "list"
    summary = "kinds, stacks, tasks, variants, experiments, corpora, executors"
    examples = ("",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check(Command):
    name = "check"
    summary = "try what the kinds of your own files promise, in seconds; nothing is trained"
    examples = ("--plugins=gated_linear.py",)

    plugins: str = flag("--plugins", metavar="FILE,…", help="Python files that register kinds")
    width: int = flag("--width", 32, metavar="N", help="of the stream that sublayers are tried in")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Describe(Configured):
    name = "describe"
    summary = "order, parameters, FLOPs and memory of every cell"
    examples = (
        "--config=experiments/sandwich.py",
        "--config=experiments/sandwich.py:scale=paper --cells='k[0135]' --json",
    )

    cells: str = flag("--cells", "*", metavar="GLOB", help="cells by name")
    json: bool = flag("--json", False, help="one JSON object a cell instead of a table")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Configured):
    name = "plan"
    summary = "a training step compiled for hardware that is not here: memory, time, chip-hours"
    examples = (
        "--config=experiments/sandwich.py:scale=paper --topology=v5e:4x4",
        "--config=experiments/sandwich.py:scale=paper --topology=h100:1x1x8 --cell=k6 --json",
    )

    topology: str = flag(
        "--topology",
        metavar="CHIP:SHAPE",
        help="v5e:4x4, v5p:2x2x1, v6e:2x4, h100:1x1x8, h200",
    )
    cell: str = flag("--cell", "", metavar="NAME", help="a cell's name; else the first")
    efficiency: float = flag("--efficiency", 0.5, metavar="SHARE", help="of the peak, in products")
    every_mesh: bool = flag("--every-mesh", False, help="try all meshes, not data and fsdp alone")
    json: bool = flag("--json", False, help="one JSON object")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Trains):
    name = "run"
    summary = "train one cell"
    examples = (
        "--config=experiments/sandwich.py --cell=k3",
        "--config=experiments/sandwich.py --config.model.order='s3(sf)5f3' --name=mine",
    )

    cell: str = flag(
        "--cell", "", metavar="NAME", help="a cell's name; else the configuration of get_config"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Trains):
    name = "sweep"
    summary = "train cells × seeds"
    examples = (
        "--config=experiments/sandwich.py --cells='k[0135]' --seeds=5",
        "--config=experiments/sandwich.py:scale=small --config.model.stack.share=s --dry-run",
        "--config=experiments/sandwich.py --executor=processes",
    )

    cells: str = flag("--cells", "*", metavar="GLOB", help="cells by name")
    dry_run: bool = flag("--dry-run", False, help="say what would be trained, and train nothing")
    executor: str = flag(
        "--executor", "local", metavar="NAME",
        help="who trains: `launch.py list` names the executors; a plugin may add one",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare(Configured):
    name = "prepare"
    summary = "fetch, check and tokenise the corpus"
    examples = ("--config=experiments/ptb.py",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench(Configured):
    name = "bench"
    summary = "tokens/s, utilisation, compile seconds, peak memory; beside other libraries"
    examples = (
        "--config=experiments/sandwich.py --cells='k[03]'",
        "--config=experiments/sandwich.py --cells=k0 --against=torch,x-transformers,hf-gpt2",
        "--config=experiments/shakespeare.py --against=nanogpt:../nanoGPT",
    )

    cells: str = flag("--cells", "*", metavar="GLOB", help="cells by name")
    against: str = flag(
        "--against", "", metavar="PEER,…",
        help="torch, x-transformers, hf-gpt2, hf-reformer or nanogpt:PATH: train each cell in turn "
        "with these at the same sizes, each in a process of its own; adds the ratios, and where a "
        "step of ours goes, to results/benchmarks/",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status(Command):
    name = "status"
    summary = "how each cell of a run stands, and the command that goes on"
    examples = ("--name=sandwich",)

    directory: str = flag("--name", metavar="NAME", help="of runs/NAME")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report(Command):
    name = "report"
    summary = "tables and figures from results/"
    examples = (
        "--name=sandwich",
        "--name=sandwich --against=random_orders --format=md,html",
    )

    directory: str = flag("--name", metavar="NAME", help="of results/NAME")
    format: str = flag(
        "--format", "md,csv,svg", metavar="md,csv,svg,html,latex", help="what is written"
    )
    against: str = flag(
        "--against", "", metavar="NAME", help="of results/NAME to compare with, cell by cell"
    )
    refresh: bool = flag(
        "--refresh", False,
        help="ask the experiment's file again for its cells, table and claims, and its corpus for "
        "what a predictor that knows frequencies alone would lose",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claims(Command):
    name = "claims"
    summary = "what papers claim and what our runs say of it; writes results/claims.md"
    examples = ("", "--json")

    json: bool = flag("--json", False, help="one JSON object a claim instead of the page")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit(Command):
    name = "audit"
    summary = "which results the present code would not make again"
    examples = ("", "--name=sandwich --rerun")

    directory: str = flag("--name", "", metavar="NAME", help="of results/NAME; else all")
    rerun: bool = flag(
        "--rerun", False, help="train the cheapest seed of each again, apart, and compare figures"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(Loads):
    name = "evaluate"
    summary = (
        "what runs, or models in Hugging Face's format, achieve on the splits of their own corpus "
        "(of such a model, stdlib) or another: a row for each seed and split, and means over seeds"
    )
    examples = (
        "--run=runs/sandwich/k3-0123abcd --stride=16",
        "--run=runs/sandwich --split=test",
        "--run='runs/sandwich/k[03]-*,runs/orders' --split=valid,test --json",
        "--run=gpt2 --corpus=wikitext-2 --stride=512",
    )

    runs: str = flag(
        "--run", metavar="DIR,…",
        help="runs/NAME/CELL-HASH, runs/NAME for every run in it, or a model's folder; a list with "
        "commas, in which each may be a glob",
    )  # fmt: skip
    corpus: str = flag("--corpus", "", metavar="NAME", help="another corpus, as in task.corpus")
    splits: str = flag(
        "--split", "", metavar="NAME,…", help="of the corpus; else those of evaluate.splits"
    )
    stride: int = flag(
        "--stride", 0, metavar="N", help="tokens between windows; 0: each run's own, as --window"
    )
    window: int = flag("--window", 0, metavar="N", help="tokens a window, in evaluate.models too")
    json: bool = flag("--json", False, help="one JSON object a row instead of tables")
    directory: str = flag(
        "--name", "", metavar="NAME",
        help="write results/NAME/evaluation.md and .jsonl too, to be committed",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(Loads):
    name = "generate"
    summary = (
        "text that a run, or a model in Hugging Face's format, makes of a prompt: goes on with it, "
        "translates it, or fills in its [MASK]s"
    )
    examples = (
        "--run=runs/sandwich/k3-0123abcd --prompt='def main(' --temperature=0.5",
        "--run=runs/sandwich/k3-0123abcd --prompts=prompts.txt --tokens=50 --top-p=0.9 --draws=3",
        "--run=bert-base-uncased --prompt='The capital of France is [MASK].'",
    )

    directory: str = flag("--run", metavar="DIR", help="runs/NAME/CELL-HASH, or a model's folder")
    prompt: str = flag("--prompt", "", metavar="TEXT", help="what is gone on with")
    prompts: str = flag(
        "--prompts", "", metavar="FILE", help="a prompt a line, instead of --prompt; - reads them"
    )
    tokens: int = flag("--tokens", 100, metavar="N", help="most tokens that are made")
    temperature: float = flag("--temperature", 0.8, metavar="T", help="0 takes the likeliest token")
    top_k: int = flag("--top-k", 0, metavar="K", help="draw from the K likeliest; 0: from all")
    top_p: float = flag(
        "--top-p", 1.0, metavar="P",
        help="draw from the fewest likeliest tokens whose probabilities add up to P",
    )  # fmt: skip
    seed: str = flag("--seed", "0", metavar="N|NxN", help="which of the run's seeds")
    draw: int = flag("--draw", 0, metavar="N", help="the seed of drawing: another text")
    draws: int = flag("--draws", 1, metavar="N", help="texts a prompt, of the draws from --draw on")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify(Loads):
    name = "verify"
    summary = "replay a run between its two kept checkpoints"
    examples = ("--run=runs/sandwich/k3-0123abcd",)

    directory: str = flag("--run", metavar="DIR", help="runs/NAME/CELL-HASH")


COMMANDS: dict[str, type[Command]] = {
    command.name: command
    for command in (
        List, Check, Describe, Plan, Run, Sweep, Prepare, Status, Report, Claims, Audit, Evaluate,
        Generate, Bench, Verify,
    )
}  # fmt: skip
