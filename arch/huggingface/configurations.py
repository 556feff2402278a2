"""A family's attributes ↔ the `model` part of a configuration, by the tables of rules.py and
reformer.py. A setting that one side cannot express is refused by name."""

import copy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from arch import config, variants
from arch import order as orders
from arch.huggingface import reformer
from arch.huggingface.attributes import FAMILIES, Values
from arch.huggingface.rules import ACTIVATIONS, PARTS
from arch.registry import Config, ConfigurationError

# Fields that no checkpoint has: they change how, not what, is computed, or the initial parameters.
UNSAID = frozenset(
    """dtype stack.apply stack.remat stack.scale_output_init head.chunk sublayers.s.path
    sublayers.f.chunk sublayers.s.relative_buckets sublayers.s.relative_distance
    embedding.rotary_base embedding.rotary_scaling embedding.rotary_factor embedding.rotary_share
    embedding.axial_shape embedding.axial_widths""".split()
)


def model_of(name: str, values: Values, parts: Mapping[str, bool]) -> dict[str, Any]:
    """The model; `parts`, those of PARTS, say what its head has."""
    family = FAMILIES[name]
    layers, inner = values[family.layers], values.get("inner_group_num", 1)
    layers = layers if isinstance(layers, int) else len(layers)
    if 2 * layers * inner > orders.MAXIMUM_LENGTH:
        raise ConfigurationError(
            f"{family.layers}: {layers} layers are more than anything here can have"
        )
    if name == "gpt2":
        model = variants.gpt2_like(layers, values["n_embd"], values["n_head"])
        values = {**values, "n_inner": values["n_inner"] or 4 * values["n_embd"]}
    elif name == "reformer":
        model, values = reformer.start(values)
    else:
        embedding, shared = {"kind": "plain"}, {}
        if name == "albert":
            _check_groups(layers, values["num_hidden_groups"])
            embedding = {"kind": "factorised", "early": True, "back": False}
            shared = {"share": "sf", "inner_groups": inner}
        sizes = (layers, values["hidden_size"], values["num_attention_heads"], "gelu")
        head = {"classes": 2 if parts["sentence"] else 0, "predict": parts["predict"]}
        head["pooler"] = parts["pooler"]
        model = variants.masked_encoder(*sizes, embedding, head=head, **shared)
    set_by = {}
    for attribute, paths in family.fields.items():
        for path in filter(lambda path: _is_of(model, path), paths):
            other = set_by.setdefault(path, attribute)
            if values[other] != values[attribute]:
                raise ConfigurationError(
                    f"{attribute}={values[attribute]} and {other}={values[other]} differ; both "
                    f"are model.{path} here"
                )
            _put(model, path, _ours(family.activation, attribute, values[attribute]))
    return model


def _check_groups(layers: int, groups: int) -> None:
    """Refuses groups that Hugging Face finds differently: it computes them in floating point."""
    if groups > layers:
        raise ConfigurationError(
            f"num_hidden_groups={groups}: allowed is 1 to {layers}, the layers"
        )
    for layer in range(layers):
        if int(layer / (layers / groups)) != layer * groups // layers:
            raise ConfigurationError(
                f"num_hidden_groups={groups} of {layers} layers: rounding puts layer {layer} into "
                "another group there than here"
            )


def _ours(activation: str, attribute: str, value: Any) -> Any:
    if attribute == activation:
        if value not in ACTIVATIONS:
            raise ConfigurationError(
                f"{attribute}={value!r}: unknown activation; known are {', '.join(ACTIVATIONS)}"
            )
        return ACTIVATIONS[value]
    return value


def _is_of(model: Mapping, path: str) -> bool:
    """Whether a field is none of a letter that the model lacks."""
    section, *rest = path.split(".")
    return section != "sublayers" or rest[0] in model["sublayers"]


def _put(tree: dict, path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def filled_model(model: Config) -> Config:
    """A model configuration, filled or not, with every option."""
    given = model.to_dict() if isinstance(model, ConfigDict) else model
    return config.make(model=given).model


def values_of(model: Config, vocabulary: int, max_length: int) -> tuple[str, Values, dict]:
    """(family, values, parts) of a model configuration: the inverse of `model_of`.

    Raises ConfigurationError for the first field that the family cannot express.
    """
    filled = filled_model(model).to_dict()
    kinds = {("decoder", "plain"): "gpt2", ("encoder", "plain"): "bert"}
    kinds[("encoder", "factorised")] = "albert"
    kind = (filled["family"], filled["embedding"]["kind"])
    if kind not in kinds:
        raise ConfigurationError(
            f"model.family={kind[0]!r} with model.embedding.kind={kind[1]!r}: none of "
            f"{', '.join(FAMILIES)} has both"
        )
    reversible = kind[1] == "plain" and filled["stack"]["kind"] == "reversible"
    name = "reformer" if reversible else kinds[kind]
    if name == "bert" and filled["stack"]["share"]:
        raise ConfigurationError(
            f"model.stack.share={filled['stack']['share']!r} with model.embedding.kind='plain': "
            "a checkpoint of albert has embedding.kind='factorised', also where its size is the "
            "width"
        )
    if name == "reformer":
        filled = reformer.explicit(filled, max_length)
    family, head = FAMILIES[name], filled["head"]
    parts = {
        "pooler": head.get("pooler", False),
        "predict": head.get("predict", False),
        "sentence": head.get("classes", 0) > 0,
    }
    example = {**family.defaults, family.layers: 1}
    if name == "reformer":
        example = reformer.example(filled)
        parts["causal"] = example["is_decoder"]
    mine = _normal(name, filled)
    _compare(name, mine, _filled(name, example, parts), only_kinds=True)
    values = {**example, "vocab_size": vocabulary, family.positions: max_length}
    if name == "reformer":
        values |= reformer.own_values(mine)
    else:
        values[family.layers] = _layers(name, mine, filled["order"])
    for attribute, paths in family.fields.items():
        found = (mine[path] for path in paths if path in mine)
        values[attribute] = next(found, values[attribute])
    theirs = {ours: written for written, ours in reversed(ACTIVATIONS.items())}
    if values[family.activation] not in theirs:
        raise ConfigurationError(
            f"model.sublayers.f.activation={values[family.activation]!r}: a checkpoint of {name} "
            f"has one of {', '.join(theirs)}"
        )
    values[family.activation] = theirs[values[family.activation]]
    _compare(name, mine, _filled(name, values, parts))
    return name, values, parts


def _layers(name: str, mine: Mapping, written: str) -> int:
    """The n of (sf)ⁿ."""
    inner = mine["stack.inner_groups"]
    layers = mine["order"].count("s") // inner
    if mine["order"] != "sf" * (layers * inner) or not layers:
        raise ConfigurationError(f"model.order={written!r}: a checkpoint of {name} has (sf)ⁿ")
    return layers


def _filled(name: str, values: Values, parts: Mapping[str, bool]) -> dict:
    return _normal(name, config.make(model=model_of(name, values, parts)).model.to_dict())


def _normal(name: str, filled: dict) -> dict:
    """Flat, with one spelling for settings that have several."""
    filled = copy.deepcopy(filled)
    order = orders.expand(filled["order"])
    filled["order"] = order
    filled["sublayers"] = used = {k: v for k, v in filled["sublayers"].items() if k in order}
    f, s, stack = used.get("f", {}), used.get("s", {}), filled["stack"]
    if f.get("kind") == "feed_forward":
        f["inner_width"] = f["inner_width"] or round(f["expand"] * filled["width"])
        f["expand"] = 4.0
    if s.get("kind") == "attention":
        s["kv_heads"] = 0 if s["kv_heads"] == s["heads"] else s["kv_heads"]
        if s["heads"] * s["head_width"] == filled["width"]:
            s["head_width"] = 0
    if not stack["share"]:
        stack["groups"] = 1
        if name == "albert":
            stack["share"], stack["groups"] = "sf", order.count("s")
    stack["share"] = "".join(sorted(stack["share"], reverse=True))
    return config.flat(filled)


def _compare(name: str, mine: dict, theirs: dict, only_kinds: bool = False) -> None:
    for field, value in theirs.items():
        if field in UNSAID or field.endswith("init_std"):
            continue
        if only_kinds and not field.endswith("kind"):
            continue
        if mine.get(field) != value:
            raise ConfigurationError(
                f"model.{field}={mine.get(field)!r}: a checkpoint of {name} has {value!r}"
            )


def class_for(name: str, parts: Mapping[str, bool]) -> str:
    """The class that has these parts. A pooler that it does not use is allowed, as in the files
    that Google published."""
    have = {part for part, there in parts.items() if there}
    for architecture, needed in FAMILIES[name].architectures.items():
        if set(needed) <= have <= {*needed, "pooler"}:
            return architecture
    raise ConfigurationError(
        f"a head with {', '.join(sorted(have))} and no other part: {name} has no such class; "
        f"it has {', '.join(FAMILIES[name].architectures)}"
    )


def required(name: str, architecture: str) -> dict[str, bool]:
    """The parts that a class must have."""
    needed = FAMILIES[name].architectures.get(architecture, ())
    return {part: part in needed for part in PARTS}


def document(name: str, values: Values, architecture: str) -> dict[str, object]:
    """The content of config.json. GPT-2's own token ids are left out: they would lie outside of a
    small vocabulary."""
    ends = {"bos_token_id": None, "eos_token_id": None} if name == "gpt2" else {}
    about = {"architectures": [architecture], "model_type": name, "dtype": "float32"}
    if name == "reformer":
        buckets = values["num_buckets"]
        ends = {"num_buckets": (buckets or (None,))[0] if len(buckets) < 2 else buckets}
        ends["hash_seed"] = (values["hash_seed"] or (None,))[0]
    return {**about, **values, **ends}
