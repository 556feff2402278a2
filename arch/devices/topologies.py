"""Devices that are not here, to compile for: TPUs by libtpu, NVIDIA GPUs by the CUDA plugin."""

import importlib.util
import math
import os
from typing import Any

from jax.experimental import topologies

from arch.devices.chips import CHIPS, chip
from arch.registry import ConfigurationError

WHEELS = {"tpu": ("libtpu",), "gpu": ("jax_cuda13_plugin", "jax_plugins.xla_cuda13")}
# No chip is held, so several processes may compile; and none asks Google's cloud who it is.
COMPILE_ONLY = {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1"}
# How hard each compiler tries. At TPU's default a step of paper size was not done in six minutes,
# and rows that are moved into fast memory ahead of time hide what goes through the large one. O1
# takes a minute or two and leaves that out; the one step compared had 10 % more temporary memory.
EFFORT: dict[str, dict[str, Any]] = {"tpu": {"optimization_level": "O1"}, "gpu": {}}
# A GpuTargetConfigProto, as in the OpenXLA repository's GPU specifications.
TARGET = """gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: {core} threads_per_core_limit: 2048
  core_count: {cores} fpus_per_core: {fpus} block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: {bandwidth} l2_cache_size: {cache}
  clock_rate_ghz: {clock} device_memory_size: {memory} shared_memory_per_block_optin: {optin}
  cuda_compute_capability {{ major: {major} }} registers_per_core_limit: 65536
  registers_per_block_limit: 65536 }} platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 }} runtime_version {{ major: 13 }}
device_description_str: "{description}" """
HOPPER = {
    "core": 233472, "cores": 132, "fpus": 128, "cache": 52428800, "clock": 1.98, "optin": 232448,
    "major": 9,
}  # fmt: skip
AMPERE = {
    "core": 167936, "cores": 108, "fpus": 64, "cache": 41943040, "clock": 1.41, "optin": 166912,
    "major": 8,
}  # fmt: skip
GPUS = {
    "h100": {**HOPPER, "memory": 84978434048, "description": "NVIDIA H100 80GB HBM3"},
    "h200": {**HOPPER, "memory": 150754820096, "description": "NVIDIA H200"},
    "a100": {**AMPERE, "memory": 84974239744, "description": "NVIDIA A100-SXM4-80GB"},
}


def devices(topology: str) -> list[Any]:
    """The devices of a topology such as 'v5e:4x4' or 'h100:1x1x8', which need not be here.

    Raises ConfigurationError for an unknown one, and where the wheels that compile for it are
    missing.
    """
    name, of_chip, shape = chip(topology)
    platform = of_chip.platform
    if missing := [wheel for wheel in WHEELS[platform] if not there(wheel)]:
        raise ConfigurationError(
            f"--topology={topology}: compiling for it needs {missing[0]}, which is not installed; "
            f"on Linux: pip install '.[plan-{platform}]'"
        )
    try:
        if platform == "tpu":
            for name, value in COMPILE_ONLY.items():
                os.environ.setdefault(name, value)
            return list(topologies.get_topology_desc(topology, "tpu").devices)
        target = TARGET.format(bandwidth=int(CHIPS[name].bandwidth), **GPUS[name])
        described = topologies.get_topology_desc(
            name, "cuda", topology="x".join(map(str, shape)), target_config=target
        )
    except (RuntimeError, ValueError, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise ConfigurationError(f"--topology={topology}: {said}") from None
    found = list(described.devices)
    assert len(found) == math.prod(shape)
    return found


def there(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
