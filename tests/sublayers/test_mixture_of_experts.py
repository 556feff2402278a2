"""Mixtures of experts: against a loop over tokens in NumPy, against PyTorch's blocks, capacity,
what they report, under every stack, on replicas."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch.context import Context, figure
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.experts import blocks
from tests.draws import drawn
from tests.families import always
from tests.recurrences import normal, stepped

WIDTH, INNER, EXPERTS, LENGTH, BATCH = 8, 12, 4, 11, 3
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "experts"
MIXTRAL = {"activation": "swiglu", "bias": False}
CONVENTIONS = {
    "mixtral": MIXTRAL,
    "jamba": {**MIXTRAL, "renormalise": False},
    "switch": {"active": 1, "renormalise": False, "capacity": 1.0},
    "dropping": {"active": 2, "capacity": 0.6, "block": 2},
}


def define(width=WIDTH, **options) -> Definition:
    given = {"experts": EXPERTS, "inner_width": INNER, **options}
    return Definition(functools.partial(sublayers.get("mixture_of_experts"), width, **given))


def random(definition, dtype=jnp.float32):
    """Random parameters; a larger router, so that no rounding changes a choice."""
    parameters = drawn(definition, dtype)
    parameters["router"]["kernel"] *= 3
    return parameters


def loop(p, x, mask, *, active=2, renormalise=True, activation="relu", capacity=0.0, **_):
    """(y, the load-balancing loss, dropped choices), token by token and choice by choice."""
    y, balance, dropped = np.zeros_like(x), 0.0, 0
    for row in range(len(x)):
        room = np.full(EXPERTS, np.ceil(capacity * active * x.shape[1] / EXPERTS) or np.inf)
        chose, likely = np.zeros(EXPERTS), np.zeros(EXPERTS)
        for t in np.flatnonzero(mask[row]):
            logits = x[row, t] @ p["router"]["kernel"]
            chances = np.exp(logits) / np.exp(logits).sum()
            chosen = np.argsort(-chances)[:active]
            whole = chances[chosen].sum() if renormalise else 1.0
            likely += chances
            for e in chosen:
                chose[e] += 1
                room[e] -= 1
                if room[e] < 0:
                    dropped += 1
                    continue
                weight = {name: of["kernel"][e] for name, of in p.items() if name != "router"}
                bias = {
                    name: of["bias"].reshape(EXPERTS, -1)[e] if "bias" in of else 0.0
                    for name, of in p.items()
                }
                h = x[row, t] @ weight["input"] + bias["input"]
                if activation == "swiglu":
                    gate = x[row, t] @ weight["gate"] + bias["gate"]
                    h = h * gate / (1 + np.exp(-gate))
                else:
                    h = np.maximum(h, 0)
                y[row, t] += chances[e] / whole * (h @ weight["output"] + bias["output"])
        balance += EXPERTS * (chose * likely).sum() / mask[row].sum()
    return y, balance / mask.sum(), dropped


@pytest.mark.parametrize("name", always(CONVENTIONS, list(CONVENTIONS)[:2]))
def test_it_is_the_loop_over_tokens_with_its_loss_and_its_drops(name, float64, assert_close):
    options = CONVENTIONS[name]
    definition, x = define(**options), normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64)
    parameters, mask = random(definition, jnp.float64), np.ones((BATCH, LENGTH), bool)
    mask[0, 8:], mask[2, 3] = False, False
    direction = jax.tree.map(lambda a: normal(*a.shape, seed=5, dtype=a.dtype), parameters)
    context = Context(mask=jnp.asarray(mask))

    @jax.jit
    def run(parameters):
        (y, extras), pull = jax.vjp(lambda p: definition.bind(p)(x, context), parameters)
        zeros = jax.tree.map(jnp.zeros_like, extras)
        ones = jax.tree.map(jnp.zeros_like, extras)
        ones.losses["balance_cost"] = (jnp.ones(()), jnp.zeros(()))
        return y, extras, pull((jnp.ones_like(y), zeros))[0], pull((0 * y, ones))[0]

    def wanted(step=0.0):
        moved = jax.tree.map(lambda p, d: np.asarray(p + step * d), parameters, direction)
        return loop(moved, np.asarray(x), mask, **options)

    def along(gradient):
        return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, direction)))

    y, extras, of_y, of_loss = run(parameters)
    expected, balance, dropped = wanted()
    assert_close(y, expected, 1e-9)
    assert figure(extras.statistics["balance"]) == pytest.approx(balance)
    assert figure(extras.losses["balance_cost"]) == pytest.approx(0.01 * balance)
    assert extras.statistics["dropped"][0] == dropped
    assert extras.statistics["dropped"][1] == mask.sum() * options.get("active", 2)
    assert (dropped > 0) == ("capacity" in options)
    ahead, behind = wanted(1e-6), wanted(-1e-6)
    assert along(of_y) == pytest.approx((ahead[0].sum() - behind[0].sum()) / 2e-6, rel=1e-6)
    slope = 0.01 * mask.sum() * (ahead[1] - behind[1]) / 2e-6
    assert along(of_loss) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("name", ["mixtral", "jamba"])
def test_outputs_gradients_and_balance_are_those_of_transformers(name, assert_close):
    with np.load(FIXTURES / f"{name}.npz") as loaded:
        given = {key: jnp.asarray(value) for key, value in loaded.items()}
    gradients = {k.removeprefix("gradient."): v for k, v in given.items() if "gradient." in k}
    router = "router.weight" if "router.weight" in given else "gate.weight"

    def ours(w):
        gate, inner = jnp.split(w["experts.gate_up_proj"].swapaxes(1, 2), 2, axis=-1)
        return {
            "router": {"kernel": w[router].T},
            "gate": {"kernel": gate},
            "input": {"kernel": inner},
            "output": {"kernel": w["experts.down_proj"].swapaxes(1, 2)},
        }

    definition, parameters = define(**CONVENTIONS[name]), ours(given)
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(jnp.shape, definition.shapes)

    @jax.jit
    def run(parameters, x):
        y, pull, extras = jax.vjp(
            lambda p, x: definition.bind(p)(x, Context()), parameters, x, has_aux=True
        )
        return y, extras, pull(given["cotangent"])

    y, extras, (of_parameters, of_x) = run(parameters, given["x"])
    assert_close(y, given["y"], 1e-4)
    assert_close(of_x, gradients["x"], 1e-4)
    assert_close(of_parameters, ours(gradients), 1e-4)
    assert figure(extras.statistics["balance"]) == pytest.approx(float(given["balance"]), rel=1e-5)


def of_jamba(w):
    """Our parameters of a Jamba of eight layers, of torch's weights."""

    def kernel(name):
        return {"kernel": w[f"{name}.weight"].swapaxes(-1, -2)}

    def norm(name):
        return {"scale": w[f"{name}.weight"]}

    def mamba(name):
        return {
            "input": kernel(f"{name}.in_proj"),
            "convolution": {
                "taps": {"kernel": w[f"{name}.conv1d.weight"][:, 0].T},
                "bias": w[f"{name}.conv1d.bias"],
            },
            "selection": kernel(f"{name}.x_proj"),
            **{f"{x}_norm": norm(f"{name}.{x}_layernorm") for x in ("dt", "b", "c")},
            "dt": {**kernel(f"{name}.dt_proj"), "bias": w[f"{name}.dt_proj.bias"]},
            "a_log": w[f"{name}.A_log"].reshape(-1),
            "skip": w[f"{name}.D"],
            "output": kernel(f"{name}.out_proj"),
        }

    def attention(name):
        of = {"query": "q", "key": "k", "value": "v", "output": "o"}
        return {ours: kernel(f"{name}.{theirs}_proj") for ours, theirs in of.items()}

    def swiglu(name):
        of = {"input": "up", "gate": "gate", "output": "down"}
        return {ours: kernel(f"{name}.{theirs}_proj") for ours, theirs in of.items()}

    def mixture(name):
        gate, up = jnp.split(w[f"{name}.experts.gate_up_proj"].swapaxes(1, 2), 2, axis=-1)
        down = w[f"{name}.experts.down_proj"].swapaxes(1, 2)
        experts = {"gate": gate, "input": up, "output": down}
        return {
            "router": kernel(f"{name}.router"),
            **{part: {"kernel": array} for part, array in experts.items()},
        }

    def letter(made, part, before, numbers):
        owners = [
            {
                "norm_before": norm(f"model.layers.{i}.{before}"),
                "sublayer": made(f"model.layers.{i}.{part}"),
            }
            for i in numbers
        ]
        return jax.tree.map(lambda *rows: jnp.stack(rows), *owners)

    return {
        "embedding": {"tokens": {"table": w["model.embed_tokens.weight"]}},
        "head": {"matrix": kernel("lm_head")},
        "stack": {
            "m": letter(mamba, "mamba", "input_layernorm", (0, 1, 2, 3, 5, 6, 7)),
            "s": letter(attention, "self_attn", "input_layernorm", (4,)),
            "f": letter(swiglu, "feed_forward", "pre_ff_layernorm", range(0, 8, 2)),
            "e": letter(mixture, "feed_forward", "pre_ff_layernorm", range(1, 8, 2)),
            "final_norm": norm("model.final_layernorm"),
        },
    }


@pytest.mark.slow
def test_the_variant_jamba_is_that_of_transformers(assert_close):
    with np.load(FIXTURES / "jamba-model.npz") as loaded:
        given = {key: jnp.asarray(value) for key, value in loaded.items()}
    ids, parameters = given["x"], of_jamba({k: v.astype(jnp.float32) for k, v in given.items()})
    made = variants.jamba(
        8, WIDTH, 4, 3, stack={"norm_kind": "rms", "epsilon": 1e-6, "apply": "switch"}
    )
    model = models.build(config.make(model=made).model, 13, LENGTH)
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(jnp.shape, model.shapes)
    y = jax.jit(lambda p: model.logits(p, ids, Context()))(parameters)
    assert_close(y, given["y"], 1e-4)


@pytest.mark.slow
def test_one_expert_is_the_feed_forward(assert_close):
    definition, x = define(experts=1, active=1), normal(BATCH, LENGTH, WIDTH)
    parameters = drawn(definition)
    plain = Definition(functools.partial(sublayers.get("feed_forward"), WIDTH, inner_width=INNER))
    one = {
        name: {"kernel": parameters[name]["kernel"][0], "bias": parameters[name]["bias"]}
        for name in ("input", "output")
    }
    y, _ = definition.bind(parameters)(x, Context())
    assert_close(y, plain.bind(one)(x, Context()))


@pytest.mark.slow
def test_blocks_of_any_size_are_the_same_function_with_the_same_gradients(assert_close):
    x = normal(BATCH, 40, WIDTH)
    parameters = random(define())

    def pulled(block):
        definition = define(block=block)
        return jax.jit(
            jax.value_and_grad(lambda p: jnp.sum(jnp.sin(definition.bind(p)(x, Context())[0])))
        )(parameters)

    assert [blocks.block_size(240, EXPERTS, where) for where in ("cpu", "gpu")] == [32, 32]
    assert blocks.block_size(2, 8, "cpu") == 8 and blocks.block_size(1 << 16, 8, "cpu") == 128
    for block in (1, 16):
        assert_close(pulled(block), pulled(0), 1e-5)


def test_a_batch_cut_into_parts_has_the_loss_and_the_drops_of_the_whole(assert_close):
    definition, x = define(capacity=0.7), normal(4, LENGTH, WIDTH)
    run = jax.jit(lambda p, x: definition.bind(p)(x, Context())[1])
    parameters = random(definition)
    whole, first, rest = (run(parameters, part) for part in (x, x[:1], x[1:]))
    for name in ("losses", "statistics"):
        parts = jax.tree.map(jnp.add, getattr(first, name), getattr(rest, name))
        assert_close(parts, getattr(whole, name))


def test_rows_that_only_fill_up_a_batch_are_not_counted(assert_close):
    definition, x = define(), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(random(definition))
    _, some = sublayer(x, Context(counted=jnp.array([True, True, False])))
    _, alone = sublayer(x[:2], Context())
    assert_close((some.losses, some.statistics), (alone.losses, alone.statistics))


@pytest.mark.parametrize("capacity", [0.0, 0.5])
def test_steps_are_the_whole_and_know_how_much_room_is_left(capacity, assert_close):
    definition, x = define(capacity=capacity), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(random(definition))
    assert sublayer.positionwise == (capacity == 0)
    y, extras = sublayer(x, Context())
    assert (extras.statistics["dropped"][0] > 0) == (capacity > 0)
    assert_close(stepped(sublayer, x), y)


def test_what_is_replayed_is_chosen():
    definition, x = define(), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(random(definition))
    y, extras = sublayer(x, Context())
    again, _ = sublayer(x, Context(replay=extras.replay))
    other, _ = sublayer(x, Context(replay={"chosen": (extras.replay["chosen"] + 1) % EXPERTS}))
    np.testing.assert_array_equal(y, again)
    assert np.abs(y - other).min(axis=-1).max() > 1e-3


STACKS = {
    "halting, shared": {"kind": "universal", "steps": 2, "halting": "act"},
    "reversible, switch": {"kind": "reversible", "apply": "switch"},
    "scan": {"apply": "scan"},
}


@pytest.mark.parametrize("stack", always(STACKS, ("reversible, switch",)))
def test_it_learns_under_every_stack(stack):
    binding = {"kind": "mixture_of_experts", "experts": 2, "active": 1, "renormalise": False}
    given = {
        "width": WIDTH,
        "order": "e2",
        "sublayers": {"e": {**binding, "expand": 1.0, "capacity": 1.0}},
        "stack": STACKS[stack],
    }
    model = models.build(config.make(model=given).model, 7, LENGTH)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 7, (BATCH, LENGTH)))

    @jax.jit
    def gradient(parameters):
        def loss(parameters):
            score, extras = model.score(parameters, ids, ids, Context())
            cost = figure(extras.losses["balance_cost"])
            return cost - score.target.mean(), extras.statistics

        return jax.grad(loss, has_aux=True)(parameters)

    found, statistics = gradient(model.init(jax.random.key(0)))
    for leaf in jax.tree.leaves(found["stack"]["e"]["sublayer"]):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0
    assert statistics["dropped"][1] == 2 * model.stack.steps * BATCH * LENGTH


@pytest.mark.slow
def test_a_run_reports_balance_and_drops_and_replicas_side_by_side_are_solo_runs(
    tiny_config, train, assert_close
):
    binding = {"kind": "mixture_of_experts", "experts": 2, "active": 1, "renormalise": False}
    sublayer = {"e": {**binding, "expand": 1.0, "capacity": 1.0}}

    def trained(replicas, *seeds):
        made = tiny_config(
            model={"order": "e", "sublayers": sublayer}, train={"replicas": replicas}
        )
        return train([(made, seed) for seed in seeds], (5,)).metrics

    both, alone = trained("vmap", 0, 1), trained("map", 1)
    for name in ("loss", "balance", "balance_cost", "dropped"):
        assert_close(both[name][1], alone[name][0], 1e-4)
    assert 0 < both["dropped"].max() < 1 and (both["balance"] >= 0.99).all()


def test_parameters_and_flops_are_counted_those_of_active_experts():
    definition = define(experts=8, active=2, **MIXTRAL)
    assert count(definition.shapes) == WIDTH * 8 + 8 * 3 * WIDTH * INNER
    assert definition.module.flops(5) == 5 * 2 * (WIDTH * 8 + 2 * 3 * WIDTH * INNER)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"active": 5}, "active=5: allowed is 1 to experts=4"),
        ({"active": 1}, "renormalise=True: allowed is false with active=1"),
        ({"capacity": -1.0}, "capacity=-1.0: allowed is 0 .nothing is dropped. or more"),
        ({"experts": 0}, "experts=0: allowed is 1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(**options)
