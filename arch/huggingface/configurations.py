"""A family's attributes ↔ the `model` part of a configuration, by the tables of its
file. A setting that one side cannot express is refused by name."""

import copy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from arch import config
from arch import order as orders
from arch.huggingface import spellings
from arch.huggingface.attributes import FAMILIES, Values
from arch.huggingface.rules import ACTIVATIONS, PARTS
from arch.registry import Config, ConfigurationError

# Fields that no checkpoint has: they change how, not what, is computed, or the initial parameters.
UNSAID = frozenset(
    """dtype stack.apply stack.remat stack.scale_output_init head.chunk sublayers.s.path
    sublayers.f.chunk sublayers.s.relative_buckets sublayers.s.relative_distance
    embedding.rotary_base embedding.rotary_scaling embedding.rotary_factor embedding.rotary_share
    embedding.axial_shape embedding.axial_widths sublayers.m.chunk sublayers.m.dt_min
    sublayers.m.dt_max sublayers.m.a_min sublayers.m.a_max sublayers.r.chunk sublayers.e.block
    """.split()
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
    model, values = family.start(values, parts)
    model = copy.deepcopy(model)  # of which a variant's defaults are parts
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
    name = _family_of(filled)
    family, head = FAMILIES[name], filled["head"]
    if family.explicit:
        filled = family.explicit(filled, max_length)
    parts = {
        "pooler": head.get("pooler", False),
        "predict": head.get("predict", False),
        "sentence": head.get("classes", 0) > 0,
    }
    example = family.example(filled) if family.example else {**family.defaults, family.layers: 1}
    parts["causal"] = bool(example.get("is_decoder"))
    mine = _normal(name, filled)
    _compare(name, mine, _filled(name, example, parts), only_kinds=True)
    values = {**example, "vocab_size": vocabulary, family.positions: max_length}
    if family.letters:
        values[family.layers] = _layers(name, mine, filled["order"])
    for attribute, paths in family.fields.items():
        found = [(path, mine[path]) for path in paths if path in mine]
        if found:
            values[attribute] = _theirs(name, family.defaults[attribute], *found[0])
    if family.own:
        values |= family.own(mine)
    if family.activation:
        values[family.activation] = _activation(name, values[family.activation])
    _compare(name, mine, _filled(name, values, parts))
    return name, values, parts


def _family_of(filled: Mapping) -> str:
    """The family that has a model's parts; of decoders, the first that has all their kinds."""
    kind = (filled["family"], filled["embedding"]["kind"])
    kinds = {("encoder", "plain"): "bert", ("encoder", "factorised"): "albert"}
    kinds[("decoder", "plain")] = "gpt2"
    if kind not in kinds:
        raise ConfigurationError(
            f"model.family={kind[0]!r} with model.embedding.kind={kind[1]!r}: none of "
            f"{', '.join(FAMILIES)} has both"
        )
    if kind[1] == "plain" and filled["stack"]["kind"] == "reversible":
        return "reformer"
    if kind[0] == "decoder":
        letters = orders.expand(filled["order"])
        used = {filled["sublayers"][letter]["kind"] for letter in letters}
        return next((name for name in FAMILIES if used <= FAMILIES[name].kinds), "gpt2")
    if kind[1] == "plain" and filled["stack"]["share"]:
        raise ConfigurationError(
            f"model.stack.share={filled['stack']['share']!r} with model.embedding.kind='plain': "
            "a checkpoint of albert has embedding.kind='factorised', also where its size is the "
            "width"
        )
    return kinds[kind]


def _theirs(name: str, default: Any, path: str, value: Any) -> Any:
    """A field's value for an attribute, which may have whole numbers alone."""
    if type(default) is not int or type(value) is not float:
        return value
    if not value.is_integer():
        raise ConfigurationError(f"model.{path}={value}: a checkpoint of {name} has a whole number")
    return int(value)


def _activation(name: str, ours: str) -> str:
    theirs = {ours: written for written, ours in reversed(ACTIVATIONS.items())}
    if ours not in theirs:
        raise ConfigurationError(
            f"model.sublayers.f.activation={ours!r}: a checkpoint of {name} has one of "
            f"{', '.join(theirs)}"
        )
    return theirs[ours]


def _layers(name: str, mine: Mapping, written: str) -> int:
    """The n of (sf)ⁿ, or of what the letters of a layer are."""
    letters, inner = FAMILIES[name].letters, mine["stack.inner_groups"]
    layers = mine["order"].count(letters[0]) // inner
    if mine["order"] != letters * (layers * inner) or not layers:
        has = f"({letters})ⁿ" if len(letters) > 1 else f"{letters}ⁿ"
        raise ConfigurationError(f"model.order={written!r}: a checkpoint of {name} has {has}")
    return layers


def _filled(name: str, values: Values, parts: Mapping[str, bool]) -> dict:
    return _normal(name, config.make(model=model_of(name, values, parts)).model.to_dict())


def _normal(name: str, filled: dict) -> dict:
    """Flat, with one spelling for settings that have several."""
    filled = copy.deepcopy(filled)
    order = orders.expand(filled["order"])
    filled["order"] = order
    filled["sublayers"] = used = {k: v for k, v in filled["sublayers"].items() if k in order}
    stack = filled["stack"]
    for binding in used.values():
        spellings.unify(binding, filled["width"])
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
    """The content of config.json."""
    about = {"architectures": [architecture], "model_type": name, "dtype": "float32"}
    ends = {}
    if name == "reformer":
        buckets = values["num_buckets"]
        ends = {"num_buckets": (buckets or (None,))[0] if len(buckets) < 2 else buckets}
        ends["hash_seed"] = (values["hash_seed"] or (None,))[0]
    return {**about, **FAMILIES[name].said, **values, **ends}
