"""What was saved is what is restored: flipped bits, cut and missing files are noticed."""

import logging
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.devices import hosts
from arch.registry import ConfigurationError
from arch.report.seals import digest_of_array
from arch.runs.checkpoints import Checkpoints, DamagedCheckpoint, _is_of
from tests import cli

FLIPS = 20
# orbax leaves coroutines behind where a file of its own cannot be read
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class State(NamedTuple):
    """As a program's state is made: a named tuple of trees."""

    parameters: dict
    optimizer: tuple
    step: Any
    alive: Any
    best_loss: Any


def state_of(value: float) -> State:
    """A state of a hundred numbers or so, of several types; NaN is one of them."""
    stack = {"s": jnp.full((2, 3, 4), float(value)), "b": jnp.arange(7, dtype=jnp.bfloat16)}
    weights = {"stack": stack}
    moments = (jnp.full((5,), float(value)), {"count": jnp.int32(value)})
    return State(
        parameters=weights,
        optimizer=moments,
        step=jnp.int32(value),
        alive=jnp.bool_(True),
        best_loss=jnp.float32(jnp.nan),
    )


SHAPES = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), state_of(0))


@pytest.fixture(scope="module", params=["whole", "parts"])
def saved(tmp_path_factory, request) -> Path:
    """Checkpoints of the steps 1 and 2; as of one host, or as of several that divide the arrays."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "parts":
            patched.setattr(hosts, "is_apart", lambda array: isinstance(array, jax.Array))
        checkpoints = Checkpoints(folder)
        for step in (1, 2):
            checkpoints.save(step, state_of(step), {"step": step, "hash": "f" * 64})
        checkpoints.close()
    return folder


def newest(folder: Path):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.newest(SHAPES)
    finally:
        checkpoints.close()


def flip(file: Path, source: random.Random) -> None:
    """One bit of a file, anywhere."""
    content = bytearray(file.read_bytes())
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    file.write_bytes(bytes(content))


def files(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size]


def test_what_was_saved_is_restored_to_the_bit(saved, same_bytes):
    step, state, meta = newest(saved)
    assert step == 2 and meta["step"] == 2 and meta["hash"] == "f" * 64
    assert same_bytes(state, state_of(2))


@pytest.mark.parametrize("at", range(FLIPS))
def test_no_flipped_bit_changes_what_is_restored(saved, tmp_path, same_bytes, caplog, at):
    source = random.Random(at)
    cli.copy(saved, tmp_path)
    inside = files(tmp_path / "2")
    # by size, so that the arrays' own data are hit as often as on a disk
    (file,) = source.choices(inside, weights=[p.stat().st_size for p in inside])
    flip(file, source)
    with caplog.at_level(logging.WARNING):
        step, state, _ = newest(tmp_path)
    # a bit that nothing is read from changes nothing; any other sends us to the checkpoint before
    assert same_bytes(state, state_of(step)), file
    assert (step == 2) or f"{tmp_path}/2 is damaged" in caplog.text


def test_every_part_of_an_array_is_compared_and_none_is_left_out(saved, tmp_path):
    cli.copy(saved, tmp_path)
    checkpoints = Checkpoints(tmp_path)
    state, meta = checkpoints.restore(2)
    array, digest = state["parameters"]["stack"]["s"], meta["array_digests"]["parameters.stack.s"]
    if isinstance(digest, str):
        digest = {"0:2,0:3,0:4": digest}
    halves = {f"{i}:{i + 1},0:3,0:4": digest_of_array(array[i : i + 1]) for i in range(2)}
    for parts, right in (
        (digest, True),
        (halves, True),
        ({"0:1,0:3,0:4": halves["0:1,0:3,0:4"]}, False),
    ):
        assert _is_of(parts, array) is right
    for changed in np.ndindex(array.shape):
        array[changed] += 1
        assert not _is_of(halves, array) and not _is_of(digest, array)
        array[changed] -= 1
    checkpoints.close()


def test_an_array_that_was_replaced_is_named(saved, tmp_path):
    cli.copy(saved, tmp_path)
    checkpoints = Checkpoints(tmp_path)
    state, meta = checkpoints.restore(2)
    checkpoints.close()
    assert set(meta["array_digests"]) > {"parameters.stack.s", "optimizer.1.count", "step"}
    other = Checkpoints(tmp_path / "other")
    state["parameters"]["stack"]["s"][0, 0, 0] += 1e-6
    other.save(2, state, {})
    other.close()
    shutil.rmtree(tmp_path / "2" / "state")
    (tmp_path / "other" / "2" / "state").rename(tmp_path / "2" / "state")
    shutil.rmtree(tmp_path / "other")
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(DamagedCheckpoint, match="the array parameters.stack.s is not the one"):
        checkpoints.restore(2, SHAPES)
    checkpoints.close()


def test_where_all_are_damaged_it_says_so_and_deletes_nothing(saved, tmp_path):
    cli.copy(saved, tmp_path)
    for step in ("1", "2"):
        for file in files(tmp_path / step):
            file.write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError, match="every checkpoint is damaged, .* steps 1, 2"):
        newest(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_shapes_are_no_damage(saved):
    checkpoints = Checkpoints(saved)
    other = SHAPES._replace(best_loss=jax.ShapeDtypeStruct((3,), np.float32))
    with pytest.raises(ConfigurationError, match="best_loss is"):
        checkpoints.newest(other)
    checkpoints.close()
