"""Training: replicas, dispatches, accumulation, a NaN, and which batch comes when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import config
from arch import order as orders
from arch.context import named
from arch.data.batches import permutation
from arch.data.dataset import load
from arch.registry import ConfigurationError
from arch.report.seeds import Apart
from arch.tasks.contract import Window
from arch.training.program import Program, Programs, build, signature
from arch.training.state import Swept, TrainState, transform

SEEDS = (0, 1, 7)
RATE, MOMENTUM, CLIP = 0.3, 0.9, 0.25


@pytest.fixture(scope="module")
def make(tiny_config):
    """A function: a configuration with dropout, so that every kind of randomness is in play, and
    with momentum. (Adam turns the rounding of a gradient that is 0 into whole steps.)"""

    def configuration(dropout=0.1, task=None, model=None, **optimizer):
        nesterov = {"name": "nag", "momentum": MOMENTUM, "learning_rate": RATE, **optimizer}
        return tiny_config(
            model={"order": "sf", "dropout": dropout, **(model or {})},
            task=task or {},
            train={"steps": 40, "batch": 4, "clip": CLIP, "optimizer": nesterov},
        )

    return configuration


@pytest.fixture(scope="module")
def base(make):
    return make()


@pytest.fixture(scope="module")
def program(base):
    return program_of(base)


@pytest.fixture(scope="module")
def initial(program):
    """A function: the states that replicas with these seeds start from."""
    known = {}

    def states(seeds):
        if seeds not in known:
            known[seeds] = jax.device_get(program.init(np.array(seeds, np.int32)))
        return known[seeds]

    return states


@pytest.fixture(scope="module")
def streaming(make):
    """The base's program, on batches that are gathered for it."""
    return program_of(make(task={"resident_bytes": 0}))


@pytest.fixture(scope="module")
def go(program, initial, train):
    """A function: (configuration, seed) pairs of the base's program, trained from their start."""

    def run(members, dispatches=(10,), state=None):
        start = initial(tuple(seed for _, seed in members)) if state is None else state
        return train(members, dispatches, state=start, program=program)

    return run


def program_of(configuration):
    return Program(configuration, *build(configuration))


def drawn(model):
    source = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.1 * source.standard_normal(leaf.shape), jnp.float32), shapes
    )


# Replicas and dispatches


def test_replicas_in_one_program_are_the_solo_runs_bit_for_bit(
    base, initial, train, row, same_bytes, full_compile
):
    program = program_of(base)  # of its own: the module's is compiled without optimisations

    def run(*seeds):
        members = [(base, seed) for seed in seeds]
        return train(members, (3, 4, 5), state=initial(seeds), program=program)

    together = run(*SEEDS)
    for index, seed in enumerate(SEEDS):
        alone = run(seed)
        assert same_bytes(row(alone.state, 0), row(together.state, index))
        assert same_bytes(row(alone.metrics, 0), row(together.metrics, index))
    losses = together.metrics["loss"]
    assert losses.shape == (3, 12) and np.all(losses[:, -3:].mean(1) < losses[:, :3].mean(1))
    assert len({line.tobytes() for line in losses}) == 3
    assert program.compiled.count("train") == 1, "any number of replicas run in the same program"


def test_what_replicas_hold_beside_the_one_that_runs_is_counted(base, initial, train):
    held = []
    for seeds in (SEEDS[:1], SEEDS):
        fresh = program_of(base)
        train([(base, seed) for seed in seeds], (1,), state=initial(seeds), program=fresh)
        held.append(fresh.compiled.peak_memory_bytes)
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(initial(SEEDS[:1])))
    alone, together = held
    assert together > alone + (len(SEEDS) - 1) * state


def test_replicas_of_other_rates_are_their_solo_runs_bit_for_bit(
    base, make, program, go, row, same_bytes
):
    slow, greedy = make(learning_rate=0.1, weight_decay=0.1), make(dropout=0.4)
    members = [(base, 0), (slow, 0), (greedy, 0)]
    assert len({signature(c, program.model, "") for c, _ in members}) == 1
    together = go(members, (6,))
    for index, one in enumerate(members):
        alone = go([one], (6,))
        assert same_bytes(row(alone.state, 0), row(together.state, index))
    assert len({line.tobytes() for line in together.metrics["loss"]}) == 3
    rates = together.metrics["learning_rate"]
    np.testing.assert_allclose(rates[1] / rates[0], 1 / 3, rtol=1e-6)


def test_whether_there_is_dropout_is_part_of_the_program(make, program):
    found = {signature(make(rate), program.model, "") for rate in (0.0, 0.1, 0.2)}
    assert len(found) == 2


def test_vmapped_replicas_are_near_the_mapped_ones(base, program, go, train, initial, assert_close):
    members = [(base, seed) for seed in SEEDS]
    side_by_side = program_of(config.override(base, {"train.replicas": "vmap"}))
    assert (side_by_side.mode, program.mode) == ("vmap", "map")
    mapped = go(members, (1,))
    vmapped = train(members, (1,), state=initial(SEEDS), program=side_by_side)
    assert_close(vmapped.state.parameters, mapped.state.parameters)
    assert_close(vmapped.metrics, mapped.metrics)
    moved = jax.tree.map(np.subtract, mapped.state.parameters, initial(SEEDS).parameters)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(moved))


def test_how_steps_are_cut_into_dispatches_changes_no_bit(base, go, same_bytes):
    members = [(base, 0)]
    whole = go(members, (20,))
    for dispatches in ((7, 13), (1, 1, 18), (19, 1)):
        parts = go(members, dispatches)
        assert same_bytes(parts.state, whole.state)
        assert same_bytes(parts.metrics, whole.metrics)


def test_a_run_goes_on_from_a_saved_state(base, go, same_bytes):
    half = go([(base, 0)], (9,))
    rest = go([(base, 0)], (11,), state=half.state)
    assert same_bytes(rest.state, go([(base, 0)], (20,)).state)


# The step


def test_the_gradient_norm_is_reported_before_clipping(base, go, initial):
    run = go([(base, 0)], (1,))
    moved = jax.tree.map(np.subtract, run.state.parameters, initial((0,)).parameters)
    assert run.metrics["gradient_norm"][0, 0] > 4 * CLIP
    # a first Nesterov step is (1 + momentum) times the gradient; the warm-up has two steps
    expected = RATE / 2 * (1 + MOMENTUM) * CLIP
    length = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(moved)))
    assert length == pytest.approx(expected, rel=1e-4)


def test_each_step_has_the_rate_of_its_own_place_in_the_schedule(base, go):
    """Of 40 steps a twentieth is warm-up: the second has the peak, and so has the one after it."""
    rates = go([(base, 0)], (3, 3)).metrics["learning_rate"][0] / RATE
    np.testing.assert_allclose(rates[:3], [0.5, 1, 1], rtol=1e-6)
    assert np.all(np.diff(rates[2:]) < 0)


def test_accumulating_four_microbatches_is_one_batch(tiny_config, initial, row, assert_close):
    even = np.ones((8, 8), np.float32)
    uneven = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    uneven[2:4] *= 0.01  # a microbatch that hardly counts
    found = {}
    for accumulate in (1, 4):
        sizes = {"batch": 8, "accumulate": accumulate}
        program = program_of(tiny_config(model={"order": "sf"}, train=sizes))
        assemble = program.task.assemble
        program.task.assemble = lambda given, plain=assemble: plain(given[0])._replace(
            weights=given[1]
        )
        ids = program.task.gather(program.task.dataset.splits["train"].ids, np.arange(8))
        parameters = row(initial((0,)), 0).parameters
        gradients = jax.jit(program.replica.gradients)
        for name, weights in (("even", even), ("uneven", uneven)):
            weighted = jnp.asarray(ids), jnp.asarray(weights)
            found[name, accumulate] = gradients(
                parameters, weighted, jax.random.key(0), jnp.float32(0), None
            )
    assert_close(found["even", 4], found["even", 1], 1e-6)
    assert_close(found["uneven", 4], found["uneven", 1], 1e-5)
    with pytest.raises(AssertionError):
        assert_close(found["uneven", 4], found["even", 4], 1e-2)


def test_the_best_parameters_are_those_of_the_lowest_loss_yet(program, initial, row, same_bytes):
    start = jax.tree.map(jnp.array, initial(SEEDS))
    state = start._replace(
        parameters=jax.tree.map(lambda a: a + 1, start.parameters),
        best_loss=jnp.array([2.0, 2.0, 2.0]),
    )
    before = jax.device_get(state)
    after = jax.device_get(program.keep_best(state, jnp.array([1.0, 3.0, jnp.nan])))
    assert after.best_loss.tolist() == [1.0, 2.0, 2.0]
    assert same_bytes(row(after.best_parameters, 0), row(before.parameters, 0))
    for index in (1, 2):
        assert same_bytes(row(after.best_parameters, index), row(before.best_parameters, index))


# A replica that is lost


def test_a_rate_that_explodes_stops_its_replica_alone(base, make, go, row, same_bytes):
    wild = make(learning_rate=1e30)
    members = [(base, 0), (wild, 1), (base, 7)]
    run = go(members, (4, 6))
    assert run.state.alive.tolist() == [True, False, True]
    at = int(run.state.stopped_step[1])
    assert run.state.stopped_step.tolist() == [-1, at, -1] and 0 < at < 4
    assert run.state.step.tolist() == [10, at, 10]
    loss = run.metrics["loss"][1]
    assert np.all(np.isfinite(loss[:at])) and not np.any(np.isfinite(loss[at:]))

    undisturbed = go([(base, seed) for seed in SEEDS], (10,))
    for index in (0, 2):
        assert same_bytes(row(run.state, index), row(undisturbed.state, index))
        assert same_bytes(row(run.metrics, index), row(undisturbed.metrics, index))
    last = go([(wild, 1)], (at,)).state  # as it was before the step that failed
    assert last.alive[0]
    assert same_bytes(row(last.parameters, 0), row(run.state.parameters, 1))
    assert same_bytes(row(last.optimizer, 0), row(run.state.optimizer, 1))


def test_a_parameter_that_is_not_finite_stops_its_replica_where_it_stands(
    base, go, row, same_bytes
):
    members = [(base, seed) for seed in SEEDS]
    state = jax.tree.map(np.array, go(members, (3,)).state)
    state.parameters["stack"]["f"]["sublayer"]["input"]["kernel"][1, 0, 0, 0] = np.inf
    run = go(members, (2, 5), state=state)
    assert run.state.alive.tolist() == [True, False, True]
    assert run.state.stopped_step.tolist() == [-1, 3, -1]
    assert run.state.step.tolist() == [10, 3, 10]
    for part in ("parameters", "optimizer", "best_parameters"):
        assert same_bytes(row(getattr(run.state, part), 1), row(getattr(state, part), 1))
    for values in run.metrics.values():  # of the step that failed, then of none
        assert np.all(np.isnan(values[1, 1:])) and np.all(np.isfinite(values[[0, 2]]))
    undisturbed = go(members, (10,))
    for index in (0, 2):
        assert same_bytes(row(run.state, index), row(undisturbed.state, index))


def test_a_replica_that_has_stopped_stays_as_it_is(base, go, row, same_bytes):
    members = [(base, seed) for seed in SEEDS]
    state = go(members, (3,)).state
    alive = np.array([True, False, True])
    run = go(members, (4,), state=state._replace(alive=alive))
    assert same_bytes(row(run.state, 1), row(state._replace(alive=alive), 1))
    assert run.state.step.tolist() == [7, 3, 7]
    assert all(np.all(np.isnan(values[1])) for values in run.metrics.values())


# Dropout


def test_every_step_and_seed_drops_elements_of_its_own(make, row, initial):
    config = make(0.4)
    program = program_of(config)
    ids = program.task.dataset.splits["train"].ids
    batch = jnp.asarray(program.task.gather(ids, np.arange(4)))
    state = row(initial((0,)), 0)

    @jax.jit
    def loss(step, seed, rate):
        swept = Swept(seed, 0, jnp.float32(0.1), jnp.float32(0), rate)
        return program.replica.step(state._replace(step=step), swept, batch, None)[1]["loss"]

    def losses(rate):
        return [
            float(loss(*x, jnp.float32(rate))) for x in ((0, 0), (1, 0), (2, 0), (0, 1), (0, 0))
        ]

    *different, again = losses(0.4)
    assert len(set(different)) == 4 and again == different[0]
    assert len(set(losses(0.0))) == 1


def test_every_microbatch_drops_elements_of_its_own(tiny_config):
    totals = {}
    for accumulate in (1, 2):
        sizes = {"batch": accumulate, "accumulate": accumulate}
        program = program_of(tiny_config(model={"order": "f", "dropout": 0.5}, train=sizes))
        ids = jnp.asarray(program.task.dataset.splits["train"].ids[:9])
        twins = jnp.stack([ids] * accumulate)
        gradients = jax.jit(program.replica.gradients)
        _, sums = gradients(drawn(program.model), twins, jax.random.key(0), jnp.float32(0.5), None)
        totals[accumulate] = [float(part) for part in sums["loss"]]
    assert totals[2][1] == 2 * totals[1][1] == 16  # targets
    assert abs(totals[2][0] - 2 * totals[1][0]) > 1e-3 * totals[1][0]


# Which batch comes when


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 100, 1000])
def test_an_epoch_holds_every_block_once(n, seed):
    drawn = shuffled(seed, 3 * n, n).reshape(3, n)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.arange(n)[None].repeat(3, 0))


def shuffled(seed, count, n):
    # compiled once for each n, not for each seed
    if (count, n) not in COMPILED:
        COMPILED[count, n] = jax.jit(
            lambda seed: permutation.shuffled(jax.random.key(seed), jnp.arange(count), n)
        )
    return np.asarray(COMPILED[count, n](seed))


COMPILED: dict = {}


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = shuffled(0, 3000, 1000).reshape(3, 1000)[:2]
    other = shuffled(1, 3000, 1000)[:1000]
    for a, b in ((first, second), (first, other), (first, np.arange(1000))):
        assert (a == b).sum() < 15  # of 1000, one is expected


def test_every_order_of_four_comes_up_about_as_often():
    def codes(seed):
        key = jax.random.key(seed)
        return permutation.shuffled(key, jnp.arange(4), 4) @ jnp.array([64, 16, 4, 1])

    found = np.unique(jax.jit(jax.vmap(codes))(jnp.arange(4800)), return_counts=True)[1]
    assert len(found) == 24
    assert ((found - 200) ** 2 / 200).sum() < 60  # chi-squared with 23 degrees: p < 5e-5


def test_batches_go_through_the_corpus_once_an_epoch(base, program):
    task = program.task
    blocks = (len(task.dataset.splits["train"].ids) - 1) // task.length
    steps = -(-blocks // program.batch)
    drawn = program.host_indices(np.array([0]), 0, steps).ravel()[:blocks]
    np.testing.assert_array_equal(np.sort(drawn), np.arange(blocks))


def test_arms_of_one_seed_see_the_same_batches_whatever_their_order(make, program):
    other = program_of(make(0.0, model={"order": "f2 s2"}, learning_rate=1.0))
    seeds = np.array([0, 1])
    batches = program.host_indices(seeds, 3, 5)
    assert batches.shape == (2, 5, 4) and np.any(batches[0] != batches[1])
    np.testing.assert_array_equal(other.host_indices(seeds, 3, 5), batches)
    later = other.host_indices(seeds[::-1], 4, 5)
    np.testing.assert_array_equal(later[::-1, :4], batches[:, 1:])


def test_a_batch_is_the_tokens_of_its_blocks_and_their_successors(tiny_config):
    task = program_of(tiny_config()).task
    ids = np.asarray(load(task.corpus, "characters").splits["train"].ids)
    for library in (np.asarray, jnp.asarray):
        batch = task.assemble(jnp.asarray(task.gather(library(ids), library([0, 5]))))
        for line, start in enumerate((0, 5 * task.length)):
            np.testing.assert_array_equal(batch.inputs[line], ids[start : start + 8])
            np.testing.assert_array_equal(batch.targets[line], ids[start + 1 : start + 9])
        assert np.all(batch.weights == 1)


def test_uniform_sampling_takes_any_offset_that_has_a_whole_sequence(tiny_config):
    task = program_of(tiny_config(task={"sampling": "uniform", "length": 2000})).task
    ids = np.asarray(task.dataset.splits["train"].ids)
    offsets = np.asarray(task.indices(jax.random.key(0), jnp.int32(3), 5000))
    assert offsets.min() >= 0 and offsets.max() + task.length + 1 <= len(ids)
    assert len(np.unique(offsets)) > 1000  # of 2000
    row_ = task.gather(ids, offsets[:2])[1]
    np.testing.assert_array_equal(row_, ids[offsets[1] : offsets[1] + task.length + 1])


def test_streamed_training_is_resident_training_bit_for_bit(
    base, streaming, go, train, initial, same_bytes
):
    members = [(base, seed) for seed in SEEDS]
    resident = go(members, (3, 4))
    run = train(members, (3, 4), state=initial(SEEDS), program=streaming)
    assert streaming.task.streamed and not resident.task.streamed
    assert same_bytes(run.state, resident.state)
    assert same_bytes(run.metrics, resident.metrics)


def test_initialisation_and_data_have_seeds_of_their_own(
    base, program, streaming, train, initial, row
):
    members, start = [(base, seed) for seed in (0, Apart(0, 1), 1)], initial((0, 0, 1))
    runs = [train(members, (1,), state=start, program=p) for p in (program, streaming)]
    replica, task = program.replica, program.task
    step, swept = jax.jit(replica.step), Swept.of(members)
    for index, data in enumerate([0, 1, 1]):
        chosen = replica.indices(jnp.int32(data), jnp.int32(0), task.batches[0])
        batch = task.gather(task.dataset.splits["train"].ids, np.asarray(chosen))
        _, expected = step(row(start, index), row(swept, index), jnp.asarray(batch), None)
        for run in runs:
            found = run.metrics["loss"][index, 0]
            assert found == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert len({float(loss) for loss in runs[0].metrics["loss"][:, 0]}) == 3


# The order as data


PAIRS = 2  # of sublayers, and how many sandwiches they make


def started(program, parameters) -> TrainState:
    """A group of one replica with these parameters, at its start."""
    optimizer = transform(program.config, program.model)(0.0, 0.0).init(parameters)
    state = TrainState.start(parameters, optimizer)
    return jax.tree.map(lambda a: jnp.array(a)[None], state)


def test_sandwiches_train_in_one_program_as_they_would_unrolled(make, row, assert_close):
    def configuration(coefficient, apply):
        order = orders.compress(orders.sandwich(PAIRS, coefficient))
        return make(0.0, model={"order": order, "stack": {"apply": apply}})

    programs, ends = Programs(), {}
    swept = Swept.of([(configuration(0, "switch"), 0)])
    for k in range(PAIRS):
        config = configuration(k, "switch")
        task, model = build(config)
        program = programs.get(config, task, model)
        source = jnp.asarray(task.dataset.splits["train"].ids)
        state = jax.tree.map(jnp.array, started(program, drawn(model)))
        ends[k] = jax.device_get(program.train(state, swept, source, 0, 1))
    (program,) = programs.known.values()
    assert program.compiled.count("train") == 1
    assert len({metrics["loss"].tobytes() for _, metrics in ends.values()}) == PAIRS

    # compiled from the vanilla order, given the last sandwich's
    unrolled = program_of(configuration(k, "unrolled"))
    state = row(started(unrolled, drawn(unrolled.model)), 0)
    key = named(jax.random.key(0), "data")
    batch = task.gather(source, task.indices(key, jnp.int32(0), 4))
    step = jax.jit(lambda *inputs: unrolled.replica.step(*inputs, None))
    state, metrics = step(state, row(swept, 0), batch)
    assert_close(row(ends[k][0].parameters, 0), jax.device_get(state.parameters))
    assert float(metrics["loss"]) == pytest.approx(ends[k][1]["loss"][0, 0], rel=1e-5)


def test_orders_of_other_counts_or_sharing_have_programs_of_their_own(tiny_config):
    def of(order, **stack):
        config = tiny_config(model={"order": order, "stack": {"apply": "switch", **stack}})
        task, model = build(config)
        return signature(config, model, task.dataset.sha256)

    same = {of(order) for order in ("(sf)2", "s2 f2", "fssf")}
    others = [of("(sf)3"), of("sfsfs"), of("(sf)2", share="s")]
    assert len(same) == 1 and len({*same, *others}) == 4
    unrolled = {of(order, apply="unrolled") for order in ("(sf)2", "s2 f2")}
    assert len(unrolled) == 2


@pytest.mark.slow
def test_orders_that_share_a_program_decode_each_by_its_own():
    """Decoding follows the model's order whatever `apply` is, and is compiled for each."""
    task = {"kind": "algorithmic", "format": "decoder", "length": 4, "base": 5}

    def settings_of(order):
        model = {"width": 16, "order": order, "stack": {"apply": "switch"}}
        return config.make(model=model, task=task, train={"batch": 4})

    programs = Programs()
    first, second = (programs.get(c, *build(c)) for c in map(settings_of, ("sf", "fs")))
    assert first.compiled is second.compiled
    parameters = jax.tree.map(lambda a: 10 * a[None], drawn(first.model))
    prompts = first.task.evaluation_batch("valid", first.task.examples("valid", Window(tokens=8)))
    prompts = jax.tree.map(lambda a: jnp.asarray(a[:4]), prompts)
    shared = [np.asarray(program.decode(parameters, prompts)) for program in (first, second)]
    alone = settings_of("fs")
    expected = Program(alone, *build(alone)).decode(parameters, prompts)
    np.testing.assert_array_equal(shared[1], expected)
    assert np.any(shared[0] != shared[1])


def test_what_is_written_when_is_part_of_a_group(tiny_config):
    """A group is saved and logged as one: cells that differ in that are trained apart."""
    plain, often, named_otherwise = (
        tiny_config(),
        tiny_config(save={"every": 7}),
        tiny_config(name="x", seeds=(5,)),
    )
    model = build(plain)[1]
    assert signature(plain, model, "") != signature(often, model, "")
    assert signature(plain, model, "") == signature(named_otherwise, model, "")


def test_sublayers_are_told_for_which_platform_they_are_compiled(base):
    task, model = build(base)
    told = []

    def sums(model, parameters, batch, context):
        told.append(context.platform)
        return type(task).sums(task, model, parameters, batch, context)

    task.sums = sums
    program = Program(base, task, model, "tpu")
    batch = jnp.zeros((4, 9), jnp.int32)
    key, state = jax.random.key(0), program.shapes()
    jax.eval_shape(program.replica.gradients, state.parameters, batch, key, 0.1, None)
    evaluation = jax.tree.map(lambda a: jnp.zeros((1, *a.shape), a.dtype), (batch, batch[:, 1:]))
    counted = jnp.ones((1, 4), bool)
    inputs = state.parameters, evaluation, counted, program.schedule
    jax.eval_shape(program.replica.evaluate, *inputs)
    assert set(told) == {"tpu"} and len(told) == 2
    assert program.mode == "vmap"
    with pytest.raises(ConfigurationError, match="platform='map': allowed are cpu, gpu, tpu"):
        Program(base, task, model, "map")


def test_shapes_are_those_of_a_replica_that_starts(program, initial):
    fresh = jax.tree.map(lambda a: (a.shape[1:], a.dtype), initial(SEEDS))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), program.shapes()) == fresh
