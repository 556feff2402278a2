"""Model cards: the README.md beside written weights, of what is known of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from arch import order as orders
from arch.config import complete, flat
from arch.models.parameters import leaves
from arch.registry import Config
from arch.report.lines import revision
from arch.report.renderers import markdown_grid, markdown_text
from arch.report.seeds import line_seed
from arch.report.tables import Grid
from arch.stacks.parameters import Parameters, count

Rows = list[tuple[str, str]]
PLACES = 4


def card(
    title: str,
    model: Config,
    parameters: Parameters,
    usage: str,
    data: Rows | None = None,
    facts: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The card of a model.

    Args:
        model: the filled `model` part of its configuration.
        usage: Python that loads it.
        data: what it reads: corpus, tokenizer.
        facts: of a trained run the line of results, with the fields of its origin; see
            `Loaded.provenance`.
        notes: what a user must know.
    """
    facts = facts or {}
    blocks = [
        "---\nlibrary_name: arch-variants\n---",
        f"# {markdown_text(title)}",
        *notes,
        "## Architecture",
        _table([*architecture(model), ("parameters", f"{count(parameters):,}"), *(data or [])]),
        "## Results",
        _results(facts),
        "## Where it comes from",
        _table(_origin(facts)) if facts else "Weights that were not trained here.",
        "## How to load it",
        f"```python\n{usage}\n```",
        "## The tree of parameters",
        _parameters(parameters),
    ]
    return "\n\n".join(blocks) + "\n"


def architecture(model: Config) -> Rows:
    """Order, family, width, and of each part its kind with the options that are set away from their
    defaults."""
    tree = model.to_dict()
    kinds = {"stack", "embedding", "head"}
    written = "".join(tree[name] for name in ("encoder_order", "order"))
    given = {letter: b for letter, b in tree["sublayers"].items() if letter in written}
    bare = {letter: {"kind": binding["kind"]} for letter, binding in given.items()}
    chosen: dict = {name: {"kind": tree[name]["kind"]} for name in kinds}
    plain = {"order": tree["order"], "encoder_order": tree["encoder_order"], "sublayers": bare}
    defaults = flat(complete({"model": {**plain, **chosen}})["model"])
    mine = flat({**tree, "sublayers": given})
    rows = [("order", _compressed(tree["order"])), ("family", str(tree["family"]))]
    if tree["encoder_order"]:
        rows.insert(0, ("order of the encoder", _compressed(tree["encoder_order"])))
    rows.append(("width", str(tree["width"])))
    for part in (*(f"sublayers.{letter}" for letter in given), *sorted(kinds)):
        own = {k.removeprefix(f"{part}."): k for k in mine if k.startswith(f"{part}.")}
        options = (
            f"{name}={mine[key]}"
            for name, key in own.items()
            if name != "kind" and mine[key] != defaults.get(key)
        )
        rows.append(
            (part.removeprefix("sublayers."), ", ".join([str(mine[own["kind"]]), *options]))
        )
    return rows


def _compressed(order: str) -> str:
    return orders.compress(orders.expand(order))


def _table(rows: Rows) -> str:
    return markdown_grid(Grid("", ("field", "value"), tuple(rows)))


def _results(facts: Mapping[str, Any]) -> str:
    evaluations = facts.get("evaluations") or {}
    if not evaluations:
        return "None are known."
    names = tuple(dict.fromkeys(name for found in evaluations.values() for name in found))
    rows = tuple(
        (split, *(_number(found.get(name, "")) for name in names))
        for split, found in evaluations.items()
    )
    return markdown_grid(Grid("", ("split", *names), rows))


def _number(value: object) -> str:
    return f"{value:.{PLACES}f}" if isinstance(value, float) else str(value)


def _origin(facts: Mapping[str, Any]) -> Rows:
    versions = ", ".join(f"{name} {v}" for name, v in (facts.get("versions") or {}).items())
    corpus = facts.get("corpus") or {}
    said = {
        "run": f"{facts.get('cell', '')}-{str(facts.get('hash', ''))[:8]}",
        "seed": line_seed(facts) if "seed" in facts else "",
        "status": facts.get("status", ""),
        "weights": f"{facts.get('weights', '')}, of step {facts.get('step', '')}",
        "trained": f"{facts['steps']} steps, {facts['tokens']:,} tokens"
        if "tokens" in facts
        else "",
        "corpus": f"{corpus['name']}, sha256 {corpus['sha256']}" if corpus else "",
        "machine": facts.get("device_name", ""),
        "code": f"git {revision(facts)}, numerics {facts.get('numerics', '')}, {versions}",
    }
    return [(name, str(text)) for name, text in said.items() if text != ""]


def _parameters(parameters: Parameters) -> str:
    rows = tuple((x.path, " × ".join(map(str, x.shape)), x.dtype) for x in leaves(parameters))
    return markdown_grid(Grid("", ("path", "shape", "dtype"), rows))
