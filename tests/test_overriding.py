"""An override changes what it names and nothing else; and what two configurations differ in."""

import pytest

from arch.config import ABSENT, differences, make, override, said_differences
from arch.registry import ConfigurationError


@pytest.fixture
def base():
    return make(model={"width": 16, "order": "s2 (sf)2 f2"}, train={"steps": 100})


def test_changing_a_kind_keeps_what_both_kinds_have(base):
    """The reversible stack's default is a final norm and apply=switch; neither was asked for."""
    plain = override(base, {"model.stack.final_norm": False, "model.stack.groups": 2})
    stack = override(plain, {"model.stack.kind": "reversible"}).model.stack
    assert (stack.kind, stack.final_norm, stack.groups, stack.apply) == (
        "reversible", False, 2, "auto",
    )  # fmt: skip
    back = override(
        override(plain, {"model.stack.kind": "reversible"}), {"model.stack.kind": "sequential"}
    )
    assert back.to_dict() == plain.to_dict()


def test_an_option_that_was_set_and_that_the_new_kind_lacks_wants_to_be_given_up(base):
    universal = {"model.stack.kind": "universal", "model.stack.steps": 3}
    looped = override(base, universal)
    plain = {"model.stack.kind": "sequential"}
    with pytest.raises(ConfigurationError) as raised:
        override(looped, plain)
    assert str(raised.value) == (
        "model.stack.kind=sequential: this kind has no option for model.stack.steps=3; to give it "
        "up, say {'model.stack.steps': None} beside it"
    )
    given_up = override(looped, plain | {"model.stack.steps": None})
    assert given_up.to_dict() == base.to_dict()
    told = []
    assert override(looped, plain, told.extend).to_dict() == base.to_dict()
    assert [one.field for one in told] == ["model.stack.steps"]
    # at its default there is nothing to give up, and giving it up is no mistake either
    override(override(base, {"model.stack.kind": "universal"}), plain)
    override(override(base, {"model.stack.kind": "universal"}), plain | {"model.stack.steps": None})


@pytest.mark.parametrize("field", ["model.stack.final_norm", "model.stack.gone", "model.width"])
def test_only_what_a_change_of_kind_drops_is_given_up(base, field):
    with pytest.raises(ConfigurationError, match=f"{field}=None: expected a value; None gives up"):
        override(base, {"model.stack.kind": "reversible", field: None})


def test_an_option_of_the_same_name_and_another_type_is_not_carried_over(base):
    """Kinds that call different things by one name: `factor` is a whole number, or a number."""
    adaptive = override(base, {"model.embedding.kind": "adaptive", "model.embedding.factor": 2})
    squashed = override(adaptive, {"model.embedding.kind": "squashed"})
    assert squashed.model.embedding.factor == 2.0  # a whole number is a good number
    half = override(squashed, {"model.embedding.factor": 0.5})
    with pytest.raises(ConfigurationError, match="no option for model.embedding.factor=0.5"):
        override(half, {"model.embedding.kind": "adaptive"})


def test_two_configurations_differ_in_what_was_set_and_not_in_what_follows(base):
    looped = override(base, {"model.stack.kind": "universal", "model.stack.halting": "act"})
    found = differences(base, looped)
    assert found == {
        "model.stack.kind": ("sequential", "universal"),
        "model.stack.halting": (ABSENT, "act"),
    }
    assert differences(looped, base)["model.stack.halting"] == ("act", ABSENT)
    assert differences(base, override(base, {"name": "x", "seeds": "7"})) == {}
    normed = override(base, {"model.stack.final_norm": not base.model.stack.final_norm})
    assert differences(looped, normed).keys() == {
        "model.stack.kind", "model.stack.final_norm", "model.stack.halting",
    }  # fmt: skip


def test_letters_that_only_one_order_has_follow_from_it(base):
    alone = override(base, {"model.order": "s2"})
    assert differences(base, alone).keys() == {"model.order"}
    asked = override(base, {"evaluate.models.a.dropout": 0.5})
    assert differences(base, asked) == {"evaluate.models.a.dropout": (ABSENT, 0.5)}
    said = said_differences(differences(base, alone))
    assert said == f"model.order {base.model.order} → s2"
