"""Training: replicas, dispatches, accumulation, what happens at a NaN, and which batch comes when."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import order as orders
from arch import training
from arch.data import permutation
from arch.data.dataset import load

SGD = {"name": "sgd", "learning_rate": 0.3, "schedule": "constant", "warmup": 0.0}
SEEDS = (0, 1, 7)


@pytest.fixture(scope="module")
def base(tiny_config):
    """A configuration with dropout, so that every kind of randomness is in play."""
    return tiny_config(model={"order": "sf", "dropout": 0.1})


@pytest.fixture(scope="module")
def program(base):
    return training.Program(base, *training.build(base), "map")


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
def go(program, initial, train):
    """A function: (configuration, seed) pairs of the base's program, trained from their start."""

    def run(members, dispatches=(10,), state=None):
        start = initial(tuple(seed for _, seed in members)) if state is None else state
        return train(members, dispatches, state=start, program=program)

    return run


def fresh(program, state):
    """The state with the optimiser of another program at its start."""
    optimizer = program.optimizer(0.0, 0.0)
    parameters = jax.tree.map(jnp.asarray, state.parameters)
    return state._replace(optimizer=jax.vmap(optimizer.init)(parameters))


def program_of(configuration, mode="map"):
    return training.Program(configuration, *training.build(configuration), mode)


# Replicas and dispatches


def test_replicas_in_one_program_are_the_solo_runs_bit_for_bit(base, go, row, same_bytes):
    together = go([(base, seed) for seed in SEEDS], (3, 4, 5))
    for index, seed in enumerate(SEEDS):
        alone = go([(base, seed)], (3, 4, 5))
        assert same_bytes(row(alone.state, 0), row(together.state, index))
        assert same_bytes(row(alone.metrics, 0), row(together.metrics, index))
    losses = together.metrics["loss"]
    assert losses.shape == (3, 12) and np.all(losses[:, -3:].mean(1) < losses[:, :3].mean(1))
    assert len({line.tobytes() for line in losses}) == 3


def test_replicas_of_other_rates_are_their_solo_runs_bit_for_bit(
    base, tiny_config, program, go, row, same_bytes
):
    def member(rate, decay, dropout):
        optimizer = {"learning_rate": rate, "weight_decay": decay}
        train = {"steps": 40, "batch": 4, "optimizer": optimizer}
        return tiny_config(model={"order": "sf", "dropout": dropout}, train=train)

    members = [(member(1e-2, 0.0, 0.1), 0), (member(3e-3, 0.1, 0.1), 0), (member(1e-2, 0.0, 0.4), 0)]
    together = go(members, (6,))
    signatures = {training.signature(c, program.model, "") for c, _ in [*members, (base, 0)]}
    assert len(signatures) == 1
    for index, one in enumerate(members):
        alone = go([one], (6,))
        assert same_bytes(row(alone.state, 0), row(together.state, index))
    assert len({line.tobytes() for line in together.metrics["loss"]}) == 3
    np.testing.assert_allclose(
        together.metrics["learning_rate"][1] / together.metrics["learning_rate"][0], 0.3, rtol=1e-6
    )


def test_whether_there_is_dropout_is_part_of_the_program(tiny_config, program):
    signatures = {
        training.signature(tiny_config(model={"order": "sf", "dropout": rate}), program.model, "")
        for rate in (0.0, 0.1, 0.2)
    }
    assert len(signatures) == 2


def test_vmapped_replicas_are_near_the_mapped_ones(tiny_config, train, initial, assert_close):
    configuration = tiny_config(
        model={"order": "sf", "dropout": 0.1},
        train={"steps": 40, "batch": 4, "optimizer": SGD},
    )
    members = [(configuration, seed) for seed in SEEDS]
    runs = []
    for mode in ("map", "vmap"):
        program = program_of(configuration, mode)
        state = fresh(program, initial(SEEDS))
        runs.append(train(members, (1,), state=state, program=program))
    assert_close(runs[1].state.parameters, runs[0].state.parameters)
    assert_close(runs[1].metrics, runs[0].metrics)
    start = initial(SEEDS).parameters["embedding"]["tokens"]["table"]
    moved = runs[0].state.parameters["embedding"]["tokens"]["table"] - start
    assert np.abs(moved).max() > 1e-3


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


def test_the_gradient_norm_is_reported_before_clipping(tiny_config, train, initial):
    settings_ = {"steps": 40, "batch": 4, "optimizer": SGD, "clip": 0.25}
    configuration = tiny_config(model={"order": "sf", "dropout": 0.1}, train=settings_)
    program = program_of(configuration)
    state = fresh(program, initial((0,)))
    run = train([(configuration, 0)], (1,), state=state, program=program)
    moved = jax.tree.map(lambda a, b: a - b, run.state.parameters, state.parameters)
    assert run.metrics["gradient_norm"][0, 0] > 0.5
    assert optax.tree.norm(moved) == pytest.approx(0.3 * 0.25, rel=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulating_four_microbatches_is_one_batch(
    tiny_config, initial, row, assert_close, monkeypatch, weighted
):
    gradients = []
    for accumulate in (1, 4):
        configuration = tiny_config(
            model={"order": "sf"}, train={"batch": 8, "accumulate": accumulate}
        )
        program = program_of(configuration)
        if weighted:  # microbatches of different weight, one of them nearly empty
            weights = np.random.default_rng(0).random((8, 8)).astype(np.float32)
            weights[2:4] *= 0.01
            plain = program.task.assemble
            monkeypatch.setattr(
                program.task,
                "assemble",
                lambda gathered, plain=plain, weights=weights: plain(gathered)._replace(
                    weights=jnp.asarray(weights)
                ),
            )
        ids = program.task.dataset.splits["train"].ids
        gathered = jnp.asarray(program.task.gather(ids, np.arange(8)))
        parameters = row(initial((0,)), 0).parameters
        gradients.append(
            jax.jit(program.gradients)(parameters, gathered, jax.random.key(0), 0.0, None)
        )
    (once, sums), (parts, other_sums) = gradients
    assert_close(parts, once, 1e-6)
    assert_close(other_sums, sums, 1e-6)


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


def test_a_rate_that_explodes_stops_its_replica_alone(base, tiny_config, go, row, same_bytes):
    optimizer = {"learning_rate": 1e30}
    wild = tiny_config(
        model={"order": "sf", "dropout": 0.1},
        train={"steps": 40, "batch": 4, "optimizer": optimizer},
    )
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
    assert np.all(np.isnan(run.metrics["gradient_norm"][1, 1:]))
    undisturbed = go(members, (10,))
    for index in (0, 2):
        assert same_bytes(row(run.state, index), row(undisturbed.state, index))


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
    drawn = program.host_indices(np.array([0]), jnp.int32(0), steps).ravel()[:blocks]
    np.testing.assert_array_equal(np.sort(drawn), np.arange(blocks))


def test_arms_of_one_seed_see_the_same_batches_whatever_their_order(tiny_config):
    def batches(order, seed, first=3):
        program = program_of(tiny_config(model={"order": order}))
        return program.host_indices(np.array([seed]), jnp.int32(first), 5)

    first = batches("s2 f2", 0)
    np.testing.assert_array_equal(batches("(sf)2", 0), first)
    np.testing.assert_array_equal(batches("(sf)2", 0, first=4)[:, :4], first[:, 1:])
    assert np.any(batches("(sf)2", 1) != first)


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
    base, tiny_config, go, train, initial, same_bytes
):
    streamed = tiny_config(
        model={"order": "sf", "dropout": 0.1}, task={"resident_bytes": 0}
    )
    resident = go([(base, seed) for seed in SEEDS], (3, 4))
    run = train([(streamed, seed) for seed in SEEDS], (3, 4), state=initial(SEEDS))
    assert run.task.streamed and not resident.task.streamed
    assert same_bytes(run.state, resident.state)
    assert same_bytes(run.metrics, resident.metrics)


# The order as data


def test_sixteen_sandwiches_train_in_one_program_as_they_would_unrolled(
    tiny_config, row, assert_close
):
    def configuration(coefficient, apply):
        order = orders.compress(orders.sandwich(16, coefficient))
        return tiny_config(
            model={"order": order, "stack": {"apply": apply}},
            train={"steps": 40, "batch": 4, "optimizer": SGD},
        )

    def swept(config):
        return jax.tree.map(jnp.asarray, training.stack_swept([(config, 0)]))

    programs, start, ends = training.Programs("map"), None, {}
    for k in range(16):
        config = configuration(k, "switch")
        task, model = training.build(config)
        program = programs.get(config, task, model)
        start = start or jax.device_get(program.init(np.array([0], np.int32)))
        source = jnp.asarray(task.dataset.splits["train"].ids)
        schedule = jnp.asarray(model.stack.schedule.as_data())
        state = jax.tree.map(jnp.array, start)
        state, metrics = program.train(state, swept(config), source, schedule, 3)
        ends[k] = jax.device_get((state, metrics))
    (program,) = programs.known.values()
    assert sum(name.startswith("train") for name in program._compiled) == 1
    assert len({metrics["loss"].tobytes() for _, metrics in ends.values()}) == 16

    for k in (0, 6):
        config = configuration(k, "unrolled")
        unrolled = program_of(config)
        scalars = row(swept(config), 0)
        state = row(start, 0)
        key = training.named(jax.random.key(0), "data")
        for step in range(3):  # operation by operation, to compile no program of 32 sublayers
            indices = unrolled.task.indices(key, jnp.int32(step), 4)
            state, _ = unrolled.step(state, scalars, unrolled.task.gather(source, indices), None)
        assert int(state.step) == 3
        assert_close(row(ends[k][0].parameters, 0), jax.device_get(state.parameters))


def test_orders_of_other_counts_or_sharing_have_programs_of_their_own(tiny_config):
    def signature(order, **stack):
        config = tiny_config(model={"order": order, "stack": {"apply": "switch", **stack}})
        task, model = training.build(config)
        return training.signature(config, model, task.dataset.sha256)

    same = {signature(order) for order in ("(sf)2", "s2 f2", "fssf")}
    others = [signature("(sf)3"), signature("sfsfs"), signature("(sf)2", share="s")]
    assert len(same) == 1 and len({*same, *others}) == 4
    unrolled = {signature(order, apply="unrolled") for order in ("(sf)2", "s2 f2")}
    assert len(unrolled) == 2
