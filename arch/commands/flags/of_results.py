"""The commands that take no experiment: what is here, what was trained, what was found."""

import dataclasses

from arch.commands.contract import Command, flag
from arch.commands.flags.base import Answers, Loads


@dataclasses.dataclass(frozen=True, kw_only=True)
class List(Answers):
    name = "list"
    summary = "what may be named: kinds and their options, variants, corpora, experiments"
    examples = ("", "--json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check(Answers):
    name = "check"
    summary = "try what the kinds of your own files promise, in seconds; nothing is trained"
    examples = ("--plugins=gated_linear.py", "--plugins=gated_linear.py,my_task.py --width=64")

    plugins: str = flag("--plugins", metavar="FILE,…", help="Python files that register kinds")
    width: int = flag(
        "--width", 32, metavar="N", help="width of the stream that sublayers are tried in, from 1"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status(Answers):
    name = "status"
    summary = "how all sweeps stand, or each cell of one, and the command that goes on"
    examples = ("", "--name=sandwich", "--name=sandwich --json")

    directory: str = flag(
        "--name", "", metavar="NAME", help="the sweep of runs/NAME, or of results/NAME",
        otherwise="all of them",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report(Command):
    name = "report"
    summary = "tables and figures from results/"
    examples = (
        "--name=sandwich",
        "--name=sandwich --against=random_orders --format=md,html",
    )

    directory: str = flag("--name", metavar="NAME", help="the folder results/NAME")
    format: str = flag(
        "--format", "md,csv,svg", metavar="FORMAT,…",
        help="what is written, any of md, csv, svg, html, latex",
    )  # fmt: skip
    against: str = flag(
        "--against",
        "",
        metavar="NAME",
        help="the folder results/NAME to compare with, cell by cell",
    )
    notes: bool = flag("--notes", False, help="of LaTeX: what stands below a table follows it")
    refresh: bool = flag(
        "--refresh", False,
        help="ask the experiment's file again for its cells, table and claims, and its corpus for "
        "what a predictor that knows frequencies alone would lose",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claims(Answers):
    name = "claims"
    summary = "what papers claim and what our runs say of it; writes results/claims.md"
    examples = ("", "--json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit(Answers):
    name = "audit"
    summary = "which results the present code would not make again"
    examples = ("", "--name=sandwich --rerun")

    directory: str = flag(
        "--name", "", metavar="NAME", help="the folder results/NAME", otherwise="all"
    )
    rerun: bool = flag(
        "--rerun", False, help="train the cheapest seed of each again, apart, and compare figures"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(Loads, Answers):
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
    corpus: str = flag(
        "--corpus", "", metavar="NAME", otherwise="the run's own; of an imported model, stdlib",
        help="a corpus by name, or file:PATH, as in task.corpus",
    )  # fmt: skip
    splits: str = flag(
        "--split", "", metavar="NAME,…", help="splits of the corpus, as train,valid,test",
        otherwise="those of evaluate.splits",
    )  # fmt: skip
    stride: int = flag(
        "--stride", 0, metavar="N", help="tokens between windows", otherwise="the run's own"
    )
    window: int = flag(
        "--window", 0, metavar="N", help="tokens a window, in evaluate.models too",
        otherwise="the run's own",
    )  # fmt: skip
    directory: str = flag(
        "--name", "", metavar="NAME",
        help="write results/NAME/evaluation.md and .jsonl too, to be committed",
        otherwise="write nothing",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(Loads, Answers):
    name = "generate"
    summary = (
        "text that a run, or a model in Hugging Face's format, makes of a prompt: goes on with it, "
        "translates it, or fills in its [MASK]s"
    )
    examples = (
        "--run=runs/sandwich/k3-0123abcd --prompt='def main(' --temperature=0.5",
        "--run=runs/sandwich/k3-0123abcd --prompts=prompts.txt --tokens=50 --top-p=0.9 --draws=3",
        "--run=runs/sandwich/k3-0123abcd --prompt='def main(' --beams=4 --stop=')' --stop=$'\\n'",
        "--run=bert-base-uncased --prompt='The capital of France is [MASK].'",
    )

    directory: str = flag("--run", metavar="DIR", help="runs/NAME/CELL-HASH, or a model's folder")
    prompt: str = flag(
        "--prompt", "", metavar="TEXT", help="the text to go on with, to translate or to fill in",
        otherwise="none; it or --prompts is needed",
    )  # fmt: skip
    prompts: str = flag(
        "--prompts", "", metavar="FILE", help="a prompt a line, instead of --prompt; - is stdin"
    )
    tokens: int = flag("--tokens", 100, metavar="N", help="the most tokens that are made")
    temperature: float = flag(
        "--temperature", 0.8, metavar="T",
        help="from 0; logits are divided by it before drawing, 0 takes the likeliest token",
    )  # fmt: skip
    top_k: int = flag(
        "--top-k", 0, metavar="K", help="draw from the K likeliest tokens", otherwise="0, from all"
    )
    top_p: float = flag(
        "--top-p", 1.0, metavar="P",
        help="draw from the fewest likeliest tokens whose probabilities add up to P, above 0 to 1",
    )  # fmt: skip
    min_p: float = flag(
        "--min-p", 0.0, metavar="P",
        help="draw from the tokens at least P times as probable as the likeliest, 0 to 1",
        otherwise="0, from all",
    )  # fmt: skip
    repetition_penalty: float = flag(
        "--repetition-penalty", 1.0, metavar="X",
        help="logits of tokens that stand in prompt or text are divided by X where positive and "
        "multiplied by it where negative, above 0; 1 for none",
    )  # fmt: skip
    beams: int = flag(
        "--beams", 0, metavar="N",
        help="search for the most probable text with N hypotheses, and draw nothing: no option of "
        "drawing goes with it, and nothing is printed before the search has ended",
        otherwise="0, draw; a translation is searched for as its task says",
    )  # fmt: skip
    length_penalty: float | None = flag(
        "--length-penalty", None, type=float, metavar="A",
        help="a search divides log-probabilities by ((5 + tokens) / 6)^A: a larger A lets longer "
        "hypotheses win; one ends at --stop, or at a translation's end",
        otherwise="the task's, of a language model 0",
    )  # fmt: skip
    stop: tuple[str, ...] = flag(
        "--stop", (), metavar="TEXT",
        help="a text ends before the first TEXT in it; said again, at any of them",
    )  # fmt: skip
    seed: str = flag("--seed", "0", metavar="N|NxN", help="which of the run's trained seeds")
    draw: int = flag("--draw", 0, metavar="N", help="the seed of drawing: another text")
    draws: int = flag("--draws", 1, metavar="N", help="texts a prompt, of the draws from --draw on")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify(Loads, Answers):
    name = "verify"
    summary = "replay a run between its two kept checkpoints, and compare every bit"
    examples = ("--run=runs/sandwich/k3-0123abcd", "--run=runs/sandwich/k3-0123abcd --trust")

    directory: str = flag("--run", metavar="DIR", help="runs/NAME/CELL-HASH")
