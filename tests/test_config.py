"""Configurations: what makes two of them the same, how they are changed, how they are kept."""

import hashlib
import json
import re

import pytest

from arch import config
from arch.config import (
    OUTSIDE_IDENTITY,
    bind,
    canonical,
    differences,
    fields,
    flat,
    identity,
    make,
    override,
)
from arch.registry import ConfigurationError
from tests import cli

SHA = "corpus"
PARTS = {
    "model": {
        "width": 16,
        "order": "s2 (sf)2 f2",
        "sublayers": {"s": {"kind": "attention", "heads": 2}},
    },
    "train": {"steps": 100},
}


@pytest.fixture
def base():
    return make(**PARTS)


def changed(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2
    if isinstance(value, float):
        return value + 0.25
    return "other" if isinstance(value, str) else ("other",)


# what a choice of a kind stands for is tested by itself
CHOICES = {"kind", "name", "family"}
FIELDS = [
    path
    for path in flat(make(**PARTS).to_dict())
    if path not in OUTSIDE_IDENTITY and path.split(".")[-1] not in CHOICES
]


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_part_of_the_identity(base, path):
    other = base.copy_and_resolve_references()
    with other.unlocked():
        *sections, name = path.split(".")
        node = other
        for section in sections:
            node = node[section]
        node[name] = "s2f2(sf)2" if name == "order" else changed(node[name])
    assert identity(other, SHA) != identity(base, SHA)


def test_which_seeds_there_are_is_no_part_of_the_identity(base):
    other = override(base, {"seeds": (7,), "train.data_seed": 7, "name": "other"})
    assert identity(other, SHA) == identity(base, SHA) and differences(base, other) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"model.sublayers.s.kind": "feed_forward", "model.sublayers.s.heads": None},
        {"model.embedding.kind": "factorised"},
        {"train.optimizer.name": "sgd"},
    ],
)
def test_every_choice_of_a_kind_is_part_of_the_identity(base, change):
    assert identity(override(base, change), SHA) != identity(base, SHA)


def test_names_and_seeds_are_no_part_of_the_identity(base):
    for change in ({"name": "mine"}, {"seeds": (4, 5)}):
        assert identity(override(base, change), SHA) == identity(base, SHA)


def test_the_corpus_is_part_of_the_identity(base):
    assert identity(base, "another") != identity(base, SHA)


def test_an_option_at_its_default_is_no_part_of_the_identity():
    """So that an option which is added later does not orphan what was run before it."""
    said = {"model": {**PARTS["model"], "dropout": 0.0}, "train": {"steps": 100, "clip": 1.0}}
    said["model"]["sublayers"] = {
        "s": {"kind": "attention", "heads": 2, "window": 0},
        "f": {"kind": "feed_forward", "expand": 4.0},
    }
    assert identity(make(**said), SHA) == identity(make(**PARTS), SHA)


def test_a_new_option_does_not_change_the_identity_of_what_was_run(base, monkeypatch):
    before = identity(base, SHA)
    defaults = {**config.DEFAULTS, "train": {**config.DEFAULTS["train"], "novelty": 3}}
    monkeypatch.setattr(fields, "DEFAULTS", defaults)
    after = make(**PARTS)
    assert after.train.novelty == 3
    assert identity(after, SHA) == before
    assert identity(override(after, {"train.novelty": 4}), SHA) != before


def test_a_letter_that_the_order_does_not_use_is_no_part_of_the_identity(base):
    assert identity(bind(base, "m", "feed_forward"), SHA) == identity(base, SHA)


def test_models_to_evaluate_by_have_the_identity_of_the_text_they_once_were(base):
    fields = {"sublayers.s.kind": "lsh_attention", "sublayers.s.rounds": 8, "dropout": 0.0}
    changes = {f"evaluate.models.lsh8.{field}": value for field, value in fields.items()}
    with_models = override(base, {**changes, "evaluate.models.full.width": 16})
    text = [
        "lsh8: sublayers.s.kind=lsh_attention sublayers.s.rounds=8 dropout=0.0",
        "full: width=16",
    ]
    own = {
        "evaluate.models": text,
        "model.embedding.kind": "plain",
        "model.head.kind": "softmax",
        "model.order": PARTS["model"]["order"],
        "model.stack.kind": "sequential",
        "model.sublayers.f.kind": "feed_forward",
        "model.sublayers.s.heads": 2,
        "model.sublayers.s.kind": "attention",
        "model.width": 16,
        "task.kind": "language_model",
        "train.optimizer.name": "adamw",
        "train.steps": 100,
    }
    hashed = json.dumps({"fields": own, "corpus": SHA, "plugins": []}, sort_keys=True)
    expected = hashlib.sha256(hashed.encode()).hexdigest()
    assert identity(with_models, SHA) == expected != identity(base, SHA)
    again = make(**json.loads(json.dumps(canonical(with_models.to_dict()))))
    assert identity(again, SHA) == expected
    assert identity(override(again, {"evaluate.models.full.width": 32}), SHA) != expected


@pytest.mark.parametrize(
    "path", ["evaluate.models", "evaluate.models.full", "evaluate.models..width"]
)
def test_a_model_to_evaluate_by_needs_a_name_and_a_field(base, path):
    with pytest.raises(ConfigurationError, match=f"^{path}='x': expected evaluate.models.NAME"):
        override(base, {path: "x"})


PLUGIN = """
from flax import nnx

from arch.registry import sublayers


@sublayers.register("nothing_much")
class Nothing(nnx.Module):
    causal = True

    def __init__(self, width, *, strength=1.0, rngs):
        pass

    def __call__(self, x, context):
        return x

    def flops(self, length):
        return 0
"""


def test_a_plugins_content_is_part_of_the_identity_not_its_place(tmp_path):
    def of(name, content):
        (tmp_path / name).write_text(content)
        with cli.forgetful():
            return identity(make(**PARTS, plugins=(str(tmp_path / name),)), SHA)

    first = of("one.py", PLUGIN)
    assert first == of("two.py", PLUGIN)
    assert first != of("one.py", PLUGIN.replace("return x", "return 2 * x"))
    assert first != identity(make(**PARTS), SHA)


def test_a_plugin_may_be_read_again_edited_and_found_elsewhere(tmp_path):
    parts = {"model": {"width": 16, "order": "nf", "sublayers": {"n": {"kind": "nothing_much"}}}}
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    with cli.forgetful():
        for file, content in (
            (one, PLUGIN),
            (one, PLUGIN),
            (two, PLUGIN),
            (one, PLUGIN.replace("strength", "force")),
        ):
            file.write_text(content)
            made = make(**parts, plugins=(str(file),))
        assert made.model.sublayers.n.force == 1.0


# Filling and changing


def test_every_field_has_a_value_and_the_whole_is_locked(base):
    values = flat(base.to_dict())
    assert None not in values.values()
    assert values["model.sublayers.s.heads"] == 2
    assert values["model.sublayers.f.kind"] == "feed_forward"
    assert values["train.optimizer.name"] == "adamw"
    with pytest.raises(AttributeError, match='Did you mean "width"'):
        base.model.widht = 3


def test_what_is_given_goes_over_the_defaults_and_the_defaults_stay(base):
    assert (base.train.steps, base.train.batch) == (100, config.DEFAULTS["train"]["batch"])
    assert make().model.width == config.DEFAULTS["model"]["width"] == 128


@pytest.mark.parametrize(
    "text, path, value",
    [
        ("2e4", "train.steps", 20000),
        ("1", "train.clip", 1.0),
        ("true", "model.stack.final_norm", True),
        ("False", "model.stack.final_norm", False),
        ("rms", "model.stack.norm_kind", "rms"),
        ("3", "task.corpus", "3"),
        ("(4,5)", "seeds", (4, 5)),
        ("4,5", "seeds", (4, 5)),
        ("7", "seeds", (7,)),
        ("valid", "evaluate.splits", ("valid",)),
        ("valid,test", "evaluate.splits", ("valid", "test")),
    ],
)
def test_text_is_read_as_the_type_of_the_field(base, text, path, value):
    found = config.get(override(base, {path: text}), path)
    assert found == value and type(found) is type(value)


def test_changing_a_field_leaves_the_original_as_it_was(base):
    before = base.to_json()
    assert override(base, {"model.width": 32}).model.width == 32
    assert base.to_json() == before


def test_changing_a_kind_drops_the_options_of_the_old_and_keeps_what_surrounds_it(base):
    scaled = override(base, {"model.sublayers.s.scale": 0.5})
    changes = {"model.sublayers.s.kind": "feed_forward", "model.sublayers.s.heads": None}
    other = override(scaled, changes).model.sublayers.s
    assert "heads" not in other and other.expand == 4.0
    assert other.scale == 0.5
    sgd = override(base, {"train.optimizer.name": "sgd", "train.optimizer.learning_rate": "0.5"})
    assert "beta1" not in sgd.train.optimizer and sgd.train.optimizer.learning_rate == 0.5


def test_an_option_of_the_new_kind_may_be_said_in_any_order_with_it(base):
    expand, kind = ("model.sublayers.s.expand", "2"), ("model.sublayers.s.kind", "feed_forward")
    for changes in (dict([expand, kind]), dict([kind, expand])):
        changes["model.sublayers.s.heads"] = None
        assert override(base, changes).model.sublayers.s.expand == 2.0


def test_an_order_with_a_new_letter_takes_the_letters_options_with_it(base):
    bound = bind(base, "m", "feed_forward")
    both = override(bound, {"model.sublayers.m.expand": "2", "model.order": "smf"})
    assert both.model.sublayers.m.expand == 2.0
    fresh = make(model={"order": "ff"})
    assert "s" not in fresh.model.sublayers
    assert override(fresh, {"model.order": "sf", "model.sublayers.s.heads": "4"})


def test_a_binding_that_one_order_does_not_use_is_there_for_another(base):
    only = override(base, {"model.order": "f3"})
    assert override(only, {"model.order": "sf"}).model.sublayers.s.heads == 2


def test_a_letter_is_rebound_to_another_kind(base):
    told = []
    bound = bind(base, "s", "feed_forward", told.extend).model.sublayers.s
    assert bound.kind == "feed_forward" and "heads" not in bound
    assert [(one.field, one.value) for one in told] == [("model.sublayers.s.heads", 2)]


def test_a_configuration_comes_back_from_json_as_it_was(base):
    rich = override(
        base,
        {
            "evaluate.splits": ("valid",),
            "train.optimizer.name": "lamb",
            "model.embedding.kind": "factorised",
            "model.sublayers.s.window": 4,
        },
    )
    for before in (base, rich):
        after = make(**json.loads(json.dumps(canonical(before.to_dict()))))
        assert after.to_dict() == before.to_dict()
        assert identity(after, SHA) == identity(before, SHA)


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"modle": {}}, "modle: unknown option of the configuration; .*did you mean 'model'?"),
        ({"train": 5}, "train=5: expected a section with the fields steps, batch"),
        ({"model": 5}, "model=5: expected a section with the fields family, width"),
        ({"model": {"widht": 5}}, "model.widht: .*did you mean 'width'?"),
        ({"model": {"sublayers": {"s": 5}}}, "model.sublayers.s=5: expected a section"),
        ({"model": {"sublayers": {"s": {"heads": 2}}}}, "model.sublayers.s.kind: missing; known"),
        ({"model": {"order": "q"}}, "letter 'q' has no binding; bind it with FILE:q=kind"),
        ({"train": {"steps": True}}, "train.steps=True: expected a whole number"),
        ({"train": {"steps": None}}, "train.steps=None: expected a whole number"),
        ({"evaluate": {"tokens": 1}}, "evaluate.tokens=1: allowed is 0, the whole split, or 2"),
        (
            {"train": {"optimizer": {"learning_rate": float("inf")}}},
            "train.optimizer.learning_rate=inf: expected a number, for example 0.001",
        ),
        ({"seeds": (0, 0)}, "seeds=(0, 0): a seed stands twice"),
        ({"seeds": ()}, "seeds=(): .* one at least"),
        ({"seeds": (2**31,)}, "seeds=(2147483648,): expected whole numbers from 0 to 2147483647"),
        ({"plugins": "gla.py"}, "plugins='gla.py': expected a list of Python files"),
    ],
)
def test_what_is_wrong_is_named(parts, message):
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ConfigurationError, match=pattern):
        make(**parts)
