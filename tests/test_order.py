"""The order language: what can be written, what it means, and how errors point at a column."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch.order import (
    OrderError,
    compress,
    counts,
    expand,
    macaron,
    par,
    random_budget,
    random_permutation,
    sandwich,
    segments,
    vanilla,
)

blanks = st.sampled_from(["", " ", "  ", "\t", "\n"])
repeats = st.integers(1, 4)


def written_items(inner):
    """Items as (text, what it expands to); inner draws the contents of a group."""

    def item(body, count, left, right, bracketed, plain):
        text, meaning = body
        text = f"({text})" if bracketed else text
        number = "" if plain else str(count)
        return left + text + number + right, meaning * (1 if plain else count)

    letter = st.sampled_from("sfcH").map(lambda x: (x, x))
    return st.one_of(
        st.builds(item, letter, repeats, blanks, blanks, st.just(False), st.booleans()),
        st.builds(item, inner, repeats, blanks, blanks, st.just(True), st.booleans()),
    )


def written_orders(inner):
    joined = st.lists(written_items(inner), min_size=1, max_size=4)
    return joined.map(lambda items: tuple("".join(part) for part in zip(*items, strict=True)))


orders = st.recursive(st.just(("sf", "sf")), written_orders, max_leaves=8)
sequences = st.text("sf", min_size=1, max_size=60) | st.text("sfc", min_size=1, max_size=12)


# What an order means


@pytest.mark.parametrize(
    "order, expanded",
    [
        ("s", "s"),
        ("s3", "sss"),
        ("sf", "sf"),
        ("s2 (sf)2 f", "sssfsff"),
        ("(s2 (fs)3)2", "ssfsfsfsssfsfsfs"),
        (" s2(sf)2f ", "sssfsff"),
        ("\ts\nF ", "sF"),
        ("s03", "sss"),
        ("((s))", "s"),
    ],
)
def test_an_order_expands_to_one_letter_a_sublayer(order, expanded):
    assert expand(order) == expanded


@given(orders)
def test_a_written_order_expands_to_what_it_was_built_from(order):
    text, meaning = order
    assert expand(text) == meaning


@given(orders)
def test_an_expanded_order_is_an_order_that_means_itself(order):
    assert expand(expand(order[0])) == expand(order[0])


# Errors


@pytest.mark.parametrize(
    "order, problem",
    [
        ("s3 (sf2", "bracket at 4 is never closed"),
        ("((s)", "bracket at 1 is never closed"),
        ("((s", "bracket at 2 is never closed"),
        ("s)", "')' at 2 closes no bracket"),
        ("s ()2", "group at 3 is empty"),
        ("s (( ))", "group at 4 is empty"),
        ("", "is empty"),
        (" \t", "is empty"),
        ("3s", "count at 1 does not directly follow a letter or a group"),
        ("s 3", "count at 3 does not directly follow"),
        ("(2s)", "count at 2 does not directly follow"),
        ("s2 3", "count at 4 does not directly follow"),
        ("sf0", "count at 3 is zero, must be at least 1"),
        ("(sf)00", "count at 5 is zero"),
        ("s-f", "character '-' at 2 is not a letter, count or bracket"),
        ("s²", "character '²' at 2"),
        ("sé", "character 'é' at 2"),
        ("s٣", "character '٣' at 2"),
        ("f s100001", "item at 3 makes it longer than 100,000 sublayers"),
        ("f (s999)999", "item at 3 makes it longer"),
        ("s" + "9" * 10_000, "item at 1 makes it longer"),
    ],
)
def test_an_error_names_the_problem_and_its_column_from_1(order, problem):
    with pytest.raises(OrderError) as raised:
        expand(order)
    assert problem in str(raised.value)


def test_an_error_quotes_the_order_and_shortens_a_long_one():
    with pytest.raises(OrderError, match=r"^order 's3 \(sf2': bracket at 4 is never closed$"):
        expand("s3 (sf2")
    with pytest.raises(OrderError) as raised:
        expand("s" * 10_000 + "!")
    assert len(str(raised.value)) < 200 and "at 10001" in str(raised.value)


def test_an_order_error_is_a_value_error_also_for_what_is_no_string():
    with pytest.raises(ValueError, match="order 6: must be a string"):
        expand(6)  # pyright: ignore[reportArgumentType]


def test_deep_nesting_is_limited_by_length_alone():
    assert expand("(" * 5000 + "s" + ")" * 5000) == "s"
    with pytest.raises(OrderError, match="longer than 100,000"):
        expand("(" * 50 + "s" + ")2" * 50)


@given(st.text("sf()019 -", max_size=12))
def test_any_text_is_an_order_or_an_order_error(text):
    try:
        assert expand(text)
    except OrderError:
        pass


# The canonical form


@pytest.mark.parametrize(
    "order, canonical",
    [
        ("s", "s"),
        ("sf", "sf"),
        ("sss", "s3"),
        ("sfsf", "(sf)2"),
        ("sf" * 16, "(sf)16"),
        ("sfsfs", "(sf)2 s"),
        ("ssffssff", "(s2 f2)2"),
        ("s(sf)15f", "s (sf)15 f"),
        ("s6(sf)10f6", "s6 (sf)10 f6"),
        ("s14(sf)2f14", "s14 (sf)2 f14"),
        ("s16f16", "s16 f16"),
        ("(sc)2(scf)4f2", "(sc)2 (scf)4 f2"),
        ("sfsffsfsff", "((sf)2 f)2"),
        ("ababababcababcababc", "(ab)2 ((ab)2 c)3"),
        ("fsfffssc", "fs f3 s2 c"),
    ],
)
def test_the_canonical_form_is_short_and_readable(order, canonical):
    assert compress(order) == canonical


@given(orders)
def test_compressing_keeps_the_meaning_and_is_idempotent(order):
    short = compress(order[0])
    assert expand(short) == expand(order[0])
    assert compress(short) == short


@given(sequences)
def test_the_canonical_form_is_one_for_each_sequence(sequence):
    assert compress(sequence) == compress(f"({sequence[:1]}){sequence[1:]}")


@cache
def fewest_letters(sequence):
    """The least that any form prints, by trying every split and every repetition."""
    length = len(sequence)
    if length == 1:
        return 1
    tries = [fewest_letters(sequence[:i]) + fewest_letters(sequence[i:]) for i in range(1, length)]
    for period in range(1, length // 2 + 1):
        if sequence == sequence[:period] * (length // period):
            tries.append(fewest_letters(sequence[:period]))
    return min(tries)


@given(st.text("sf", min_size=1, max_size=14))
def test_no_form_prints_fewer_letters_than_the_canonical_one(sequence):
    assert sum(map(str.isalpha, compress(sequence))) == fewest_letters(sequence)


@given(orders)
def test_segments_multiply_out_to_the_order(order):
    parts = segments(order[0])
    assert "".join(unit * times for unit, times in parts) == expand(order[0])
    assert all(not (a[1] == b[1] == 1) for a, b in zip(parts, parts[1:], strict=False))


def test_segments_are_the_top_level_of_the_canonical_form():
    assert segments("s6 (sf)10 f6") == (("s", 6), ("sf", 10), ("f", 6))
    assert segments("(s2 f)3 fsc") == (("ssf", 3), ("fsc", 1))
    assert segments("sf") == (("sf", 1),)


@pytest.mark.parametrize("order", ["(sf)5000", "s10000", "(sfsff)400 s3", "s1001 (sf)500"])
def test_very_long_orders_keep_their_meaning(order):
    assert compress(order).count("(") <= 2
    assert expand(compress(order)) == expand(order)


@given(orders)
def test_counts_are_those_of_the_expanded_order_by_first_appearance(order):
    expanded = expand(order[0])
    assert counts(order[0]) == {letter: expanded.count(letter) for letter in expanded}
    assert list(counts(order[0])) == sorted(set(expanded), key=expanded.index)


# Generators


def test_sandwich_of_16_with_coefficient_6_is_the_papers():
    assert compress(sandwich(16, 6)) == "s6 (sf)10 f6"


@given(st.integers(1, 24))
def test_sandwich_with_coefficient_zero_is_vanilla(layers):
    assert sandwich(layers, 0) == vanilla(layers) == "sf" * layers


@given(st.integers(1, 24))
def test_sandwich_with_the_largest_coefficient_is_all_attention_below_all_feed_forward(layers):
    assert sandwich(layers, layers - 1) == "s" * layers + "f" * layers


def test_the_counts_of_a_sandwich_do_not_depend_on_its_coefficient():
    orders = [sandwich(16, k) for k in range(16)]
    assert all(counts(order) == {"s": 16, "f": 16} for order in orders)
    assert len(set(orders)) == 16


@given(st.integers(3, 40), st.data())
def test_the_canonical_form_of_a_sandwich_shows_its_coefficient(layers, data):
    k = data.draw(st.integers(1, layers - 2))
    assert segments(sandwich(layers, k)) == (("s", k), ("sf", layers - k), ("f", k))


def test_self_and_cross_attention_move_as_one_unit():
    assert vanilla(3).replace("s", "sc") == sandwich(3, 0, attention="sc") == "scfscfscf"
    assert sandwich(3, 1, attention="sc") == "scscfscff"
    assert compress(sandwich(6, 2, attention="sc")) == "(sc)2 (scf)4 f2"


@pytest.mark.parametrize("coefficient", [-1, 16, 17])
def test_a_coefficient_out_of_range_is_refused_with_the_range(coefficient):
    with pytest.raises(ValueError, match=f"coefficient {coefficient}: must be 0 to 15"):
        sandwich(16, coefficient)


@pytest.mark.parametrize("build", [vanilla, macaron, par, lambda n: sandwich(n, 0)])
def test_no_layers_are_refused(build):
    with pytest.raises(ValueError, match="layers 0: must be at least 1"):
        build(0)


def test_a_macaron_layer_is_attention_between_two_half_steps():
    assert macaron(2) == "hshhsh"
    assert compress(macaron(12)) == "(hsh)12"
    assert counts(macaron(12, half="g")) == {"g": 24, "s": 12}


@given(st.integers(2, 64))
def test_par_has_one_attention_in_five_sublayers_within_the_first_two_thirds(layers):
    order = par(layers)
    assert len(order) == 2 * layers and order[0] == "s"
    assert order.count("s") == max(2 * layers // 5, 1)
    assert order.rindex("s") + 1 <= 4 * layers / 3


def test_par_of_16_layers_replaces_ten_of_sixteen_attentions():
    assert compress(par(16)) == "(s f3)6 f8"
    assert compress(par(12)) == "(s f4)4 f4"
    assert par(1) == "sf"


# Samplers. The strings are literal: a seed means the same order on every Python version.


@pytest.mark.parametrize(
    "seed, order",
    [
        (0, "ssfffssfsfssffsfsffsffssffssssff"),
        (1, "ssfffsfsffsfffssfsfssfssffsssffs"),
        (2, "fsssfffffsssfsfsfffssssssfffssff"),
    ],
)
def test_a_permutation_is_a_function_of_its_seed(seed, order):
    assert random_permutation(16, 16, seed) == order


@pytest.mark.parametrize(
    "seed, order",
    [
        (0, "ssffsfsffsssfssfssssfsssfffsssfsfss"),
        (1, "fssfffssffsfsffsfssffssffffffs"),
        (2, "ssffsssfsssfffssssfffffffsssfffs"),
    ],
)
def test_a_budget_sample_is_a_function_of_its_seed(seed, order):
    assert random_budget(48, seed) == order


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 2**64))
def test_a_permutation_has_the_counts_asked_for(attention, feed_forward, seed):
    order = random_permutation(attention, feed_forward, seed)
    assert (order.count("s"), order.count("f")) == (attention, feed_forward)


def test_all_permutations_are_drawn_about_equally_often():
    drawn = [random_permutation(2, 2, seed) for seed in range(3000)]
    frequencies = {order: drawn.count(order) for order in drawn}
    assert len(frequencies) == 6
    # Expected 500 each, standard deviation 20.4.
    assert all(400 < times < 600 for times in frequencies.values())


@given(st.integers(1, 60), st.integers(0, 2**64))
def test_the_budget_is_always_spent_exactly(units, seed):
    order = random_budget(units, seed)
    assert order.count("s") + 2 * order.count("f") == units


@given(st.integers(0, 1000))
def test_a_budget_of_one_unit_is_one_attention(seed):
    assert random_budget(1, seed) == "s"


@given(st.integers(0, 1000))
def test_a_draw_never_leaves_a_rest_that_nothing_fits(seed):
    """4 = 2 + 2 but 4 - 3 = 1 fits neither: the letter of cost 3 is not drawn."""
    assert random_budget(4, seed, {"a": 2, "b": 3}) == "aa"


def test_the_order_of_the_costs_does_not_matter():
    assert random_budget(48, 7, {"f": 2, "s": 1}) == random_budget(48, 7, {"s": 1, "f": 2})


def test_a_budget_sample_draws_both_letters_about_equally_often():
    drawn = "".join(random_budget(48, seed)[:20] for seed in range(500))
    # 10,000 draws before the budget can run short: standard deviation 0.005.
    assert drawn.count("s") / len(drawn) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "sample, problem",
    [
        (lambda: random_budget(5, 0, {"f": 2}), "budget of 5 units: cannot be spent exactly"),
        (lambda: random_budget(5, 0, {"f": 0}), "cost of f 0: must be at least 1"),
        (lambda: random_budget(0, 0), "units 0: must be at least 1"),
        (lambda: random_budget(48, -1), "seed -1: must be at least 0"),
        (lambda: random_permutation(1, 1, -1), "seed -1: must be at least 0"),
        (lambda: random_permutation(-1, 1, 0), "attention -1: must be at least 0"),
        (lambda: random_permutation(0, 0, 0), "sublayers 0: must be at least 1"),
    ],
)
def test_a_sample_that_cannot_be_drawn_is_refused(sample, problem):
    with pytest.raises(ValueError, match=problem):
        sample()
