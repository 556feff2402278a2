"""Checkpoints of the fixtures: read once, compared to the bit, copied with changes, refused."""

import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from arch.huggingface import weights as huggingface
from arch.registry import ConfigurationError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "huggingface"


@functools.cache
def known(name):
    """(what was read, what is expected) of a fixture."""
    with np.load(FIXTURES / name / "expected.npz") as file:
        return huggingface.read(FIXTURES / name), dict(file)


def same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def described(folder) -> dict:
    return json.loads((folder / "config.json").read_text())


def changed_copy(name, folder, tensors=None, **attributes):
    """A fixture's copy in a folder, with attributes and tensors changed; ... takes one out."""
    shutil.copytree(FIXTURES / name, folder)
    held = {k: v for k, v in {**described(folder), **attributes}.items() if v is not ...}
    (folder / "config.json").write_text(json.dumps(held))
    if tensors is not None:
        file = folder / "model.safetensors"
        changed = tensors(load_file(file))
        file.unlink()
        save_file(changed, file)
    return folder


def refused(folder, *says):
    with pytest.raises(ConfigurationError) as caught:
        huggingface.read(folder)
    assert "\n" not in str(caught.value)
    for text in says:
        assert text in str(caught.value), str(caught.value)
