"""What a config.json says: the family, a value for each of its attributes, and the class. An
attribute that changes the computation is read, or refused by name; so is one that nobody knows."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from arch.huggingface import conversions, files
from arch.huggingface.family import Family, Values
from arch.huggingface.harmless import HARMLESS
from arch.huggingface.jamba import JAMBA
from arch.huggingface.mamba import MAMBA, MAMBA2
from arch.huggingface.reformer_rules import REFORMER
from arch.huggingface.rules import ALBERT, BERT, GPT2
from arch.huggingface.rwkv import RWKV
from arch.registry import ConfigurationError, suggestion, typed

FAMILIES = {
    "bert": BERT,
    "albert": ALBERT,
    "gpt2": GPT2,
    "reformer": REFORMER,
    "mamba": MAMBA,
    "mamba2": MAMBA2,
    "rwkv": RWKV,
    "jamba": JAMBA,
}
SHOWN = 60  # characters of a value in a message


def load(file: Path) -> tuple[str, Values, str]:
    """(family, values, class or '') of a config.json."""
    written = files.read_json(file)
    name = _family(file, written)
    family = FAMILIES[name]
    written = _named(file, family, written)
    for attribute, value in written.items():
        _check(file, name, attribute, value)
    values = {}
    for attribute, default in family.defaults.items():
        value = written.get(attribute, default)
        if attribute in family.automatic and value in (None, "auto"):
            value = default
        if attribute in family.automatic and isinstance(default, tuple) and type(value) is int:
            value = (value,)
        values[attribute] = value = typed(value, default, f"{file}: {attribute}")
        least = int(attribute not in family.zero)
        if type(value) is int and not least <= value < 2**31:
            raise ConfigurationError(f"{file}: {attribute}={value}: allowed is {least} to 2³¹ - 1")
    return name, values, _class(file, name, written.get("architectures"), values)


def like(written: Mapping) -> str:
    """The family whose attributes stand in a configuration without model_type; '' for none."""
    own = {
        name: {*family.defaults, *family.aliases, *family.unread} - HARMLESS
        for name, family in FAMILIES.items()
    }
    # of BERT and ALBERT, which have most in common, the one that leaves fewer unknown
    found = {name: (len(own[name] & written.keys()), -len(own[name])) for name in own}
    best = max(found, key=lambda name: found[name])
    return best if found[best][0] >= 4 else ""


def _family(file: Path, written: Mapping) -> str:
    name = written.get("model_type")
    if isinstance(name, str) and name in FAMILIES:
        return name
    known = ", ".join(FAMILIES)
    if "model_type" not in written and (guess := like(written)):
        raise ConfigurationError(
            f"{file}: model_type is missing; the other fields are those of {guess}: add the line "
            f'"model_type": "{guess}", to the file (known are {known})'
        )
    raise ConfigurationError(f"{file}: model_type={name!r}: known are {known}")


def _named(file: Path, family: Family, written: Mapping) -> dict:
    """With transformers' common names of attributes under the family's own."""
    written = dict(written)
    for alias in family.aliases.keys() & written.keys():
        own, value = family.aliases[alias], written.pop(alias)
        if written.setdefault(own, value) != value:
            raise ConfigurationError(
                f"{file}: {alias}={value!r} and {own}={written[own]!r} differ; both are one "
                "attribute: delete the one that does not hold"
            )
    return written


def _check(file: Path, name: str, attribute: str, value: object) -> None:
    """Refuses an attribute with another value than supported, and one that is not known: null
    means that an attribute is not set, unless its name is nearly that of a known one."""
    family = FAMILIES[name]
    if attribute in family.fixed and value != family.fixed[attribute]:
        raise ConfigurationError(
            f"{file}: {attribute}={_shown(value)} is not supported; allowed is "
            f"{family.fixed[attribute]!r}"
        )
    if attribute in {*family.defaults, *family.fixed, *family.unread, *HARMLESS}:
        return
    near = suggestion(attribute, (*family.defaults, *family.aliases))
    if value is not None or difflib.get_close_matches(attribute, family.defaults, cutoff=0.9):
        raise ConfigurationError(
            f"{file}: {attribute}={_shown(value)}: unknown attribute of {name}{near}; delete it "
            "from the file if it changes nothing of what the model computes"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _class(file: Path, name: str, written: object, values: Values) -> str:
    if not written:
        return ""
    allowed = FAMILIES[name].architectures
    if not isinstance(written, list) or len(written) != 1 or written[0] not in allowed:
        causal = values.get("is_decoder", False)
        near = next(c for c in reversed(allowed) if ("causal" in allowed[c]) == causal)
        raise ConfigurationError(
            f"{file}: architectures={written!r}: known of {name} are {', '.join(allowed)}; "
            f"{conversions.as_class(file.parent, near)}"
        )
    if "is_decoder" in values and values["is_decoder"] != ("causal" in allowed[written[0]]):
        raise ConfigurationError(
            f"{file}: is_decoder={values['is_decoder']}: {written[0]} has the other"
        )
    return written[0]
