"""Registries: a constructor's signature is the schema of its options."""

import abc
import importlib.util
import re
import sys

import pytest

from arch.registry import ConfigurationError, Registry, suggestion, typed


@pytest.fixture
def registry() -> Registry:
    made = Registry("instrument")

    @made.register("flute")
    class Flute:
        def __init__(self, width, *, keys=16, length=0.67, open_holes=False, maker, rngs):
            pass

    @made.register("drum")
    class Drum:
        def __init__(self, width, *, heads=2, skin="calf", tuning=(1, 2), rngs):
            pass

    return made


def test_kinds_are_found_by_name_and_know_their_own(registry):
    assert registry.names() == ("drum", "flute")
    assert registry.get("drum").kind == "drum"
    assert registry.get("drum").__name__ == "Drum"


def test_options_are_the_keyword_arguments_that_a_user_types(registry):
    assert registry.options("drum") == {"heads": 2, "skin": "calf", "tuning": (1, 2)}
    assert list(registry.options("flute")) == ["keys", "length", "open_holes", "maker"]
    own = Registry("instrument", given=("maker",))
    own.register("flute")(registry.get("flute"))
    assert "rngs" in own.options("flute") and "maker" not in own.options("flute")


def test_given_options_go_over_the_defaults(registry):
    filled = registry.fill("drum", {"skin": "goat"}, "band.d")
    assert filled == {"heads": 2, "skin": "goat", "tuning": (1, 2)}


@pytest.mark.parametrize(
    "kind, options, message",
    [
        (
            "drum",
            {"head": 3},
            "band.d.head: unknown option of instrument 'drum'; it takes heads, skin, tuning; "
            "did you mean 'heads'?",
        ),
        (
            "drum",
            {"zzz": 3},
            "band.d.zzz: unknown option of instrument 'drum'; it takes heads, skin, tuning",
        ),
        (
            "flute",
            {"keys": 3},
            "band.d.maker: instrument 'flute' needs this option and has no default",
        ),
        (
            "drum",
            {"heads": "two"},
            "band.d.heads='two': expected a whole number, for example 2",
        ),
        ("lute", {}, "band.d.kind='lute': unknown instrument kind; known are drum, flute; did you "
         "mean 'flute'?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_would(registry, kind, options, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        registry.fill(kind, options, "band.d")


def test_an_option_without_a_default_takes_any_type(registry):
    assert registry.fill("flute", {"maker": 3}, "f")["maker"] == 3
    assert registry.fill("flute", {"maker": "Boehm"}, "f")["maker"] == "Boehm"


def test_given_arguments_are_no_options(registry):
    with pytest.raises(ConfigurationError, match="d.rngs: unknown option"):
        registry.fill("drum", {"rngs": 1}, "d")


@pytest.mark.parametrize(
    "value, like, expected",
    [
        (2e4, 100, 20000),
        (3, 100, 3),
        (10**400, 100, 10**400),
        (1, 0.5, 1.0),
        (True, False, True),
        ("a", "", "a"),
        ([1, 2], (), (1, 2)),
        ((1, 2), (3,), (1, 2)),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_values_become_the_type_of_the_default(value, like, expected):
    made = typed(value, like, "x")
    assert made == expected and type(made) is type(expected)


@pytest.mark.parametrize(
    "value, like, words",
    [
        (1.5, 100, "a whole number, for example 100"),
        ("3", 100, "a whole number, for example 100"),
        (True, 100, "a whole number, for example 100"),
        (True, 0.5, "a number, for example 0.5"),
        (1, False, "true or false, for example False"),
        ("true", False, "true or false, for example False"),
        (3, "a", "a text, for example 'a'"),
        ("abc", (1, 2), "a list, for example (1, 2)"),
        (3, (1, 2), "a list, for example (1, 2)"),
        (None, 1, "a whole number, for example 1"),
        (None, "a", "a text, for example 'a'"),
        (float("inf"), 1, "a whole number, for example 1"),
        (float("nan"), 1, "a whole number, for example 1"),
        (float("inf"), 0.5, "a number, for example 0.5"),
        (float("nan"), 0.5, "a number, for example 0.5"),
        (10**400, 0.5, "a number, for example 0.5"),
        ([("a", 1)], {"a": 1, "b": 2}, "a section with the fields a, b"),
    ],
)
def test_other_values_are_refused_and_the_message_names_field_value_and_type(value, like, words):
    message = f"train.x={value!r}: expected {words}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        typed(value, like, "train.x")


def test_the_elements_of_a_list_have_the_type_of_the_defaults():
    assert typed([2e4, 3], (1, 2), "x") == (20000, 3)
    with pytest.raises(ConfigurationError, match="x='b': expected a whole number"):
        typed([1, "b"], (1, 2), "x")


def test_a_second_class_of_a_kind_is_refused_unless_it_is_loaded_from_the_same_file(
    registry, tmp_path
):
    source = "class Harp:\n    def __init__(self, *, strings=47): pass\n"

    def load(name):
        path = tmp_path / name
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # where inspect looks a class's file up
        spec.loader.exec_module(module)
        return module.Harp

    try:
        registry.register("harp")(load("one_harp.py"))
        again = registry.register("harp")(load("one_harp.py"))
        assert registry.get("harp") is again
        with pytest.raises(ConfigurationError, match="'harp' is registered already, by .*one_harp"):
            registry.register("harp")(load("another_harp.py"))
        assert registry.get("harp") is again
    finally:
        for name in ("one_harp", "another_harp"):
            sys.modules.pop(name, None)


def test_a_near_name_is_suggested_and_a_far_one_is_not():
    assert suggestion("widht", ["width", "order"]) == "; did you mean 'width'?"
    assert suggestion("zzz", ["width", "order"]) == ""


class Instrument(abc.ABC):
    """A contract with a method, an attribute, an attribute of the instance, and defaults."""

    pitch: float  # set by the constructor
    loud = False

    @abc.abstractmethod
    def play(self, note: str, seconds: float) -> str:
        """The sound of a note.

        More is said below.
        """

    @property
    @abc.abstractmethod
    def strings(self) -> int:
        """How many strings there are."""

    def tune(self) -> str:
        """Nothing, where there is nothing to tune."""
        return "in tune"


def harp(*, without: str = "", base: type = object, **more):
    """A class that matches the contract, apart from one member."""
    members = {
        "__init__": lambda self, *, loudness=1: setattr(self, "pitch", 440.0),
        "__module__": __name__,
        "play": lambda self, note, seconds: note,
        "strings": 47,
    }
    return type("Harp", (base,), {k: v for k, v in members.items() if k != without} | more)


@pytest.fixture
def contracted() -> Registry:
    return Registry("instrument", contract=Instrument)


@pytest.mark.parametrize("base", [object, Instrument])
@pytest.mark.parametrize(
    "without, advice",
    [
        ("play", "play is missing; write `def play(self, note, seconds)`: The sound of a note."),
        ("strings", "strings is missing; write `strings = …`: How many strings there are."),
    ],
)
def test_a_kind_without_a_member_of_the_contract_is_refused_by_name(
    contracted, base, without, advice
):
    message = f"{__file__}: class Harp, instrument 'harp': {advice}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        contracted.register("harp")(harp(without=without, base=base))
    assert contracted.names() == ()


def test_a_member_that_should_be_a_method_and_is_none_is_refused(contracted):
    with pytest.raises(ConfigurationError, match="play is 3, expected a method; write `def play"):
        contracted.register("harp")(harp(play=3))


def test_a_class_that_only_matches_the_contract_is_given_its_defaults(contracted):
    cls = contracted.register("harp")(harp(loud=True))
    assert not issubclass(cls, Instrument)
    made = contracted.build("harp", loudness=2)
    assert (made.loud, made.tune(), made.strings) == (True, "in tune", 47)
    assert contracted.build("harp").pitch == 440.0


def test_a_subclass_inherits_the_defaults_and_keeps_its_own(contracted):
    contracted.register("harp")(harp(base=Instrument, loud=True))
    assert contracted.build("harp").loud and contracted.build("harp").tune() == "in tune"


def test_an_attribute_that_the_constructor_must_set_is_missed_by_name(contracted):
    contracted.register("harp")(harp(__init__=lambda self: None))
    message = "instrument 'harp': pitch is missing; set `self.pitch` (float) in its constructor"
    with pytest.raises(ConfigurationError, match=f"{re.escape(message)}$"):
        contracted.build("harp")


def test_kinds_registered_before_their_contract_are_checked_too():
    made = Registry("instrument")
    made.register("harp")(harp())
    assert made.require(Instrument) is Instrument and made.get("harp").loud is False
    made = Registry("instrument")
    made.register("harp")(harp(without="play"))
    with pytest.raises(ConfigurationError, match="play is missing"):
        made.require(Instrument)
