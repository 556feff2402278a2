"""cuDNN, which has the fused attention of NVIDIA GPUs: loaded before a program that uses it is
traced, since JAX asks for its version then, and where there is no GPU ends the process without it.
"""

import ctypes
import functools
import importlib.util
from pathlib import Path

from arch.registry import ConfigurationError

LIBRARY = "libcudnn.so.9"
WHEEL = "nvidia.cudnn"


@functools.cache
def load() -> None:
    """The library, the system's or that of the wheel. Raises ConfigurationError without either."""
    for name in (LIBRARY, *_of_wheel()):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            return
        except OSError:
            continue
    raise ConfigurationError(
        "path='cudnn': fused attention needs cuDNN, which is not installed: pip install --no-deps "
        "nvidia-cudnn-cu13, or set the letter's path=blocks, as model.sublayers.s.path=blocks"
    )


def _of_wheel() -> list[str]:
    try:
        found = importlib.util.find_spec(WHEEL)
    except ModuleNotFoundError:  # of the package that it is in
        return []
    folders = list(found.submodule_search_locations or ()) if found else []
    return [str(Path(folder) / "lib" / LIBRARY) for folder in folders]
