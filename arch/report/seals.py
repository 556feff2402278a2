"""Digests, by which a reader sees whether a JSON object was cut or edited, and whether arrays are
those that were written."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

SEAL = "digest"
NUMERICS = "numerics"
SEALED_SINCE = 3  # every object that carries this number or a later one was sealed when written


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its digest as the last field; a digest that it has is made anew."""
    own = {name: value for name, value in content.items() if name != SEAL}
    return {**own, SEAL: _digest(own)}


def is_broken(content: Mapping[str, Any]) -> bool:
    """Whether the object differs from what was sealed, or its seal is gone; one without a digest
    that is older than seals are is taken as it is."""
    if SEAL not in content:
        return content.get(NUMERICS, 0) >= SEALED_SINCE
    own = {name: value for name, value in content.items() if name != SEAL}
    return content[SEAL] != _digest(own)


def _digest(content: Mapping[str, Any]) -> str:
    # as JSON gives it back: a tuple is a list there, and a number as a key a text
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def digest_of_array(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    array = np.ascontiguousarray(array)
    found = hashlib.sha256(f"{array.dtype} {np.shape(array)} ".encode())
    found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays with their names, in whatever order."""
    each = sorted(f"{name} {digest_of_array(array)}" for name, array in arrays.items())
    return hashlib.sha256("\n".join(each).encode()).hexdigest()
