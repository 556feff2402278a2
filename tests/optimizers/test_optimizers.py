"""Optimisers: against optax with plain numbers, NumPy, closed forms, and an owner on its own."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from arch import optimizers
from arch.registry import ConfigurationError
from experiments.papers import freivalds2019
from tests.families import always

NAMES = optimizers.optimizers.names()
PER_TENSOR = tuple(n for n in NAMES if optimizers.optimizers.get(n).per_tensor)
STEPS = 1000


def settings(name="adamw", **options) -> dict:
    own = optimizers.optimizers.options(name)
    return {"name": name, **optimizers.SURROUNDINGS, **own, **options}


LETTERS = {"stack": ("s", "f")}


def built(config, clip=0.0, letters=LETTERS):
    return optimizers.build(config, clip, letters)


def tree(owners=3, width=4, seed=0) -> dict:
    """A model's tree in little: two letters, a final norm, embedding and head."""
    source = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(source.standard_normal(shape), jnp.float32)

    def letter(n, inner):
        sublayer = {"input": {"kernel": draw(n, width, inner), "bias": draw(n, inner)}}
        return {"norm_before": {"scale": draw(n, width)}, "sublayer": sublayer}

    return {
        "embedding": {"tokens": {"table": draw(5, width)}},
        "stack": {
            "s": letter(owners, width),
            "f": letter(owners, 2 * width),
            "final_norm": {"scale": draw(width), "bias": draw(width)},
        },
        "head": {"matrix": {"kernel": draw(width, 5)}},
    }


def runner(chain, gradient, steps):
    """parameters → those after so many steps, each of the gradient at (parameters, step)."""

    def step(index, carry):
        parameters, state = carry
        updates, state = chain.update(gradient(parameters, index), state, parameters)
        return optax.apply_updates(parameters, updates), state

    def all_steps(parameters):
        return jax.lax.fori_loop(0, steps, step, (parameters, chain.init(parameters)))[0]

    return jax.jit(all_steps)


def run(chain, parameters, gradient, steps):
    return runner(chain, gradient, steps)(parameters)


def first_update(chain, gradient, parameters):
    return jax.jit(lambda g, p: chain.update(g, chain.init(p), p)[0])(gradient, parameters)


def wavering(parameters, index):
    """A gradient that changes from step to step and from leaf to leaf."""
    return jax.tree.map(lambda a: jnp.sin(3 * a + index), parameters)


# Every optimiser


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_lowers_a_loss(name):
    goal, start = tree(seed=1), tree()

    def loss(parameters):
        squares = jax.tree.map(lambda a, b: ((a - b) ** 2).mean(), parameters, goal)
        return sum(jax.tree.leaves(squares))

    rate = {"sgd": 0.5, "nag": 0.1, "radam": 0.2}.get(name, 0.05)
    chain = built(settings(name))(rate, 0.0)
    end = run(chain, start, lambda p, _: jax.grad(loss)(p), 40)
    assert loss(end) < 0.7 * loss(start)

    def kinds(tree):
        return jax.tree.map(lambda a: (a.shape, a.dtype), tree)

    assert kinds(end) == kinds(start)


@pytest.mark.parametrize("name", always(NAMES, ("adamw", "muon")))
def test_a_traced_rate_and_decay_are_the_numbers_themselves(name, assert_close):
    """jit of (rate, decay) as arguments against the chain built of Python floats."""
    build, start = built(settings(name)), tree()
    gradient = wavering(start, 0)

    @jax.jit
    def update(rate, decay, gradient, parameters):
        chain = build(rate, decay)
        return chain.update(gradient, chain.init(parameters), parameters)[0]

    def traced(rate, decay):
        return update(jnp.float32(rate), jnp.float32(decay), gradient, start)

    expected = first_update(build(0.01, 0.1), gradient, start)
    assert_close(traced(0.01, 0.1), expected, 1e-6)
    twice = traced(0.02, 0.1)["head"]["matrix"]["kernel"]
    assert not np.allclose(twice, expected["head"]["matrix"]["kernel"], rtol=0.1)


def decays(leaf_path) -> bool:
    """Whether a leaf of `tree` is a matrix or a table."""
    return leaf_path[-1].key in ("kernel", "table")


@pytest.mark.parametrize(
    "name, reference",
    [
        ("adamw", lambda mask: optax.adamw(0.01, 0.9, 0.999, 1e-8, weight_decay=0.1, mask=mask)),
        (
            "radam",
            lambda mask: optax.chain(
                optax.scale_by_radam(), optax.add_decayed_weights(0.1, mask), optax.scale(-0.01)
            ),
        ),
        (
            "sgd",
            lambda mask: optax.chain(optax.add_decayed_weights(0.1, mask), optax.scale(-0.01)),
        ),
    ],
)
def test_elementwise_optimisers_are_optax_with_a_mask_written_by_hand(
    name, reference, assert_close
):
    start = tree()
    mask = jax.tree_util.tree_map_with_path(lambda path, _: decays(path), start)
    ours = built(settings(name))(0.01, 0.1)
    expected = run(reference(mask), start, wavering, 5)
    assert_close(run(ours, start, wavering, 5), expected, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_moves_matrices_and_tables_alone(name):
    """At a gradient of zero nothing but decay moves a weight. Biases and norms have an owner axis
    and are two-dimensional arrays, and yet no matrices."""
    chain = built(settings(name))(0.1, 0.5)
    start = tree()
    updates = first_update(chain, jax.tree.map(jnp.zeros_like, start), start)
    for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
        assert bool(np.any(np.asarray(leaf))) == decays(path), jax.tree_util.keystr(path)


def test_decay_is_the_rate_times_the_weight(assert_close):
    start = tree()
    zeros = jax.tree.map(jnp.zeros_like, start)
    for name in ("adamw", "sgd", "radam", "adafactor", "muon"):
        chain = built(settings(name))(0.1, 0.5)
        updates = first_update(chain, zeros, start)
        kernel = updates["stack"]["f"]["sublayer"]["input"]["kernel"]
        assert_close(kernel, -0.05 * start["stack"]["f"]["sublayer"]["input"]["kernel"], 1e-6)


# Nesterov's momentum


def test_nag_is_nesterovs_method_seen_from_the_point_ahead():
    """v' = μ v - η ∇f(θ + μ v), θ' = θ + v' (Sutskever et al. 2013); ours holds θ + μ v."""
    rate, momentum = 0.05, 0.9
    matrix = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
    theta, velocity = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    for _ in range(25):
        velocity = momentum * velocity - rate * matrix @ (theta + momentum * velocity)
        theta = theta + velocity

    def gradient(parameters, _):
        return {"head": {"x": jnp.asarray(matrix, jnp.float32) @ parameters["head"]["x"]}}

    chain = built(settings("nag", momentum=momentum))(rate, 0.0)
    end = run(chain, {"head": {"x": jnp.array([1.0, -2.0, 3.0])}}, gradient, 25)
    np.testing.assert_allclose(end["head"]["x"], theta + momentum * velocity, rtol=1e-4)
    assert not np.allclose(end["head"]["x"], theta, rtol=1e-2)


def test_nags_defaults_are_those_of_the_adaptive_input_models():
    assert settings("nag")["momentum"] == 0.99 and settings("nag")["weight_decay"] == 0.0


# An owner is a tensor


def test_the_optimisers_with_norms_per_tensor_are_known():
    assert set(PER_TENSOR) == {"lamb", "adafactor", "muon"}


def rows(parameters, owner) -> dict:
    """The tree that holds one owner of each letter alone."""
    stack = {
        letter: jax.tree.map(lambda a: a[owner : owner + 1], part) if len(letter) == 1 else part
        for letter, part in parameters["stack"].items()
    }
    return {**parameters, "stack": stack}


@pytest.mark.parametrize("name", always(PER_TENSOR, ("adafactor",)))
def test_an_owner_moves_as_if_it_were_alone(name, assert_close):
    # 128 is where Adafactor begins to factor; the owners are of different sizes of weight
    start = tree(owners=3, width=128)
    for letter in "sf":
        start["stack"][letter] = jax.tree.map(
            lambda a: a * jnp.array([0.1, 1.0, 7.0]).reshape(3, *[1] * (a.ndim - 1)),
            start["stack"][letter],
        )
    chain = built(settings(name))(0.02, 0.1)
    trained = runner(chain, wavering, 3)
    together = trained(start)
    for owner in range(3):
        assert_close(rows(together, owner), trained(rows(start, owner)))


@pytest.mark.parametrize("name", always(["adamw", *PER_TENSOR], ("adamw", "lamb")))
def test_which_entries_have_owners_is_told_and_not_guessed_from_their_names(name, assert_close):
    """The same tree under other names: a letter of many characters, another entry of one."""
    names = {"s": "long", "f": "f", "final_norm": "n"}

    def renamed(parameters):
        return {**parameters, "stack": {names[k]: v for k, v in parameters["stack"].items()}}

    start = tree()
    chain = built(settings(name))(0.02, 0.1)
    other = built(settings(name), letters={"stack": ("long", "f")})(0.02, 0.1)
    assert_close(run(other, renamed(start), wavering, 2), renamed(run(chain, start, wavering, 2)))
    unknown = built(settings(name), letters={})(0.02, 0.1)
    moved = run(unknown, start, wavering, 2), run(chain, start, wavering, 2)
    scales = [m["stack"]["s"]["norm_before"]["scale"] for m in moved]
    assert not np.allclose(*scales, rtol=1e-4)  # a norm of three owners is no matrix


@pytest.mark.parametrize("name", always(PER_TENSOR, ("muon",)))
def test_an_owners_update_is_optaxs_of_its_matrix(name, assert_close):
    """Against the optax chain on a tree of single matrices and vectors, without an owner axis."""
    start = tree(owners=2, width=128)
    mask = lambda parameters: jax.tree.map(lambda a: a.ndim >= 2, parameters)  # noqa: E731
    reference = {
        "lamb": optax.chain(  # optax.lamb has the ratio for biases and norms too
            optax.scale_by_adam(eps=1e-6),
            optax.add_decayed_weights(0.1, mask),
            optax.masked(optax.scale_by_trust_ratio(), mask),
            optax.scale(-0.02),
        ),
        "adafactor": optax.chain(
            optax.scale_by_factored_rms(decay_rate=0.8),
            optax.clip_by_block_rms(1.0),
            optax.add_decayed_weights(0.1, mask),
            optax.scale(-0.02),
        ),
        "muon": optax.contrib.muon(0.02, weight_decay=0.1, weight_decay_mask=mask),
    }[name]
    chain = built(settings(name))(0.02, 0.1)
    together = run(chain, start, wavering, 2)
    single = [jax.tree.map(lambda a, i=i: a[i], start["stack"]["f"]) for i in range(2)]
    alone = run(reference, {"first": single[0], "second": single[1]}, wavering, 2)
    for index, owner in enumerate(("first", "second")):
        ours = jax.tree.map(lambda a, i=index: a[i], together["stack"]["f"])
        assert_close(ours, alone[owner])
    rest = run(reference, {"table": start["embedding"]["tokens"]["table"]}, wavering, 2)
    assert_close(together["embedding"]["tokens"]["table"], rest["table"])


def test_lamb_without_correction_is_that_of_alberts_code():
    """In NumPy: biases and norms get neither decay nor ratio, a letter's owners a ratio each."""
    start, steps = tree(), 3
    chain = built(settings("lamb", bias_correction=False))(0.02, 0.1)
    ours = run(chain, start, lambda _, i: wavering(start, i), steps)

    def moved(path, weight, *gradients):
        weight, m, v = np.asarray(weight, np.float64), 0.0, 0.0
        for g in (np.asarray(g, np.float64) for g in gradients):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            update = m / (np.sqrt(v) + 1e-6)
            if decays(path):
                update = update + 0.1 * weight
                norms = [np.sqrt((a**2).sum((-2, -1), keepdims=True)) for a in (weight, update)]
                update = update * norms[0] / norms[1]
            weight = weight - 0.02 * update
        return weight

    gradients = [wavering(start, i) for i in range(steps)]
    wanted = jax.tree_util.tree_map_with_path(moved, start, *gradients)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_muon_makes_a_matrix_orthogonal():
    """Five Newton-Schulz steps bring singular values near 1, whatever they were."""
    start = tree(owners=2, width=16)
    chain = built(settings("muon", momentum=0.0))(1.0, 0.0)
    updates = first_update(chain, wavering(start, 0), start)
    for kernel in np.asarray(updates["stack"]["s"]["sublayer"]["input"]["kernel"]):
        values = np.linalg.svd(kernel, compute_uv=False)
        assert 0.5 < values.min() and values.max() < 1.3


# Clipping


@pytest.mark.parametrize("clip", [0.5, 1e6, 0.0])
def test_the_gradient_is_scaled_to_the_largest_norm_allowed(clip, assert_close):
    start = tree()
    gradient = wavering(start, 0)
    norm = math.sqrt(sum((np.asarray(g) ** 2).sum() for g in jax.tree.leaves(gradient)))
    chain = built(settings("sgd"), clip)(1.0, 0.0)
    updates = first_update(chain, gradient, start)
    factor = 0.5 / norm if clip == 0.5 else 1.0
    assert norm > 1
    assert_close(updates, jax.tree.map(lambda g: -factor * g, gradient), 1e-6)


# Schedules


def rate_at(step, peak=2.0, **options):
    function = optimizers.learning_rate(settings(**options), STEPS)
    return float(function(jnp.float32(peak), jnp.int32(step)))


@pytest.mark.parametrize(
    "options, warmup",
    [
        ({"warmup": 0.1}, 100),
        ({"warmup": 0.05}, 50),
        ({"warmup": 0.05, "warmup_steps": 400}, 400),
    ],
)
@pytest.mark.parametrize("schedule", optimizers.SCHEDULES)
def test_the_rate_rises_in_a_line_to_its_peak_at_the_last_step_of_the_warm_up(
    schedule, options, warmup
):
    at = lambda step: rate_at(step, schedule=schedule, **options)  # noqa: E731
    assert at(0) == pytest.approx(2.0 / warmup)
    assert at(warmup // 2 - 1) == pytest.approx(1.0)
    assert at(warmup - 1) == at(warmup) == pytest.approx(2.0)


def test_a_warm_up_starts_where_it_is_said_to():
    options = {"warmup_steps": 100, "warmup_initial": 1e-7}
    assert rate_at(0, **options) == pytest.approx(1e-7 + (2.0 - 1e-7) / 100)
    assert rate_at(99, **options) == pytest.approx(2.0)


def test_without_a_warm_up_the_first_step_has_the_peak():
    for schedule in optimizers.SCHEDULES:
        assert rate_at(0, schedule=schedule, warmup=0.0) == pytest.approx(2.0)


@pytest.mark.parametrize("step", [100, 325, 550, 775, 1000])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_after_the_warm_up_the_rate_has_its_closed_form(step, final):
    gone = (step - 100) / 900
    closed = {
        "constant": 2.0,
        "cosine": 2.0 * (final + (1 - final) * (1 + math.cos(math.pi * gone)) / 2),
        "linear": 2.0 * (1 - (1 - final) * gone),
        "rsqrt": 2.0 * math.sqrt(100 / step),
    }
    assert set(closed) == set(optimizers.SCHEDULES)
    for schedule, expected in closed.items():
        found = rate_at(step, schedule=schedule, warmup=0.1, final=final)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_cosine_and_line_end_at_the_final_fraction_of_the_peak():
    for schedule in ("cosine", "linear"):
        assert rate_at(STEPS, schedule=schedule, final=0.1) == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize("schedule", ("cosine", "linear", "rsqrt"))
def test_the_rate_falls_from_the_first_step_after_the_warm_up_on(schedule):
    """A schedule one step late stays at its peak for one step more, or never ends."""
    at = lambda step: rate_at(step, schedule=schedule, warmup=0.1, final=0.0)  # noqa: E731
    assert at(98) < at(99) == at(100) > at(101)


def test_a_line_is_straight_between_its_first_step_and_its_last():
    at = lambda step: rate_at(step, schedule="linear", warmup_steps=4, warmup=0, final=0)  # noqa: E731
    found = [at(step) for step in (0, 1, 2, 3, 4, 5, 502, 999, 1000)]
    falling = [2 - 2 * n / 996 for n in (0, 1, 498, 995, 996)]
    np.testing.assert_allclose(found, [0.5, 1.0, 1.5, 2.0, *falling], atol=1e-6)


# Refusals


@pytest.mark.parametrize(
    "options, message",
    [
        ({"schedule": "step"}, "schedule='step': allowed are constant, cosine, linear, rsqrt"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: allowed is above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"warmup": 1.5}, "warmup=1.5: a fraction"),
        ({"final": -0.1}, "final=-0.1: a fraction"),
        ({"warmup_steps": 1001}, "warmup_steps=1001: allowed is 0 to train.steps=1000"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ConfigurationError, match=f"train.optimizer.{message}"):
        optimizers.check(settings(**options), STEPS)


def test_radam_of_the_shuffle_exchange_networks_falls_in_a_line_and_is_optaxs(assert_close):
    chosen = settings(**freivalds2019.radam(384))
    rate = optimizers.learning_rate(chosen, STEPS)
    peak = chosen["learning_rate"]
    assert peak == pytest.approx(0.000625)
    for step in (0, 250, STEPS):
        assert float(rate(peak, step)) == pytest.approx(peak * (1 - step / STEPS), abs=1e-9)
    start = tree()
    mask = jax.tree_util.tree_map_with_path(lambda path, _: decays(path), start)
    expected = optax.chain(
        optax.scale_by_radam(0.9, 0.999, 1e-5),
        optax.add_decayed_weights(0.01, mask),
        optax.scale(-peak),
    )
    ours = built(chosen)(peak, chosen["weight_decay"])
    assert_close(run(ours, start, wavering, 8), run(expected, start, wavering, 8), 1e-6)
