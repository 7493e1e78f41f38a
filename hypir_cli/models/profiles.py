"""Named sets of number format, quantisation, offload and VAE, by the memory that a machine has for them.

A profile is a budget and a list of sets, best first; it stands for the first set that fits, or for the last. `auto` takes the
device's own memory as the budget, and never another VAE, since that changes pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

from hypir_cli.config.families import find_family
from hypir_cli.errors import ConfigError
from hypir_cli.models.memory import memory_row

ProfileName = Literal["auto", "laptop", "12gb", "24gb", "max"]
PROFILES: tuple[ProfileName, ...] = get_args(ProfileName)
"""Names that `--profile` takes."""
SHARE = 0.9
"""Of a GPU's memory, what a profile plans with."""
SYSTEM_SHARE = 0.7
"""Of a machine's own memory: the rest is for images and other programs."""
STREAMED = 2**30
"""Bytes on the device for the layers that visit it with sequential offload."""
_GB = 2**30
_PACKAGES = {"none": None, "int8": "torchao", "nf4": "bitsandbytes"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One set of settings."""

    dtype: str = "auto"
    """Setting `runtime.dtype`."""
    computes: str
    """Number format that it comes to, for the memory."""
    quantize: str = "none"
    """Setting `runtime.quantize`."""
    offload: str = "none"
    """Setting `runtime.offload`."""
    vae: str = "default"
    """Setting `model.vae`."""

    def settings(self) -> dict[str, str]:
        """Dotted keys and values, those that differ from the defaults."""
        values = {
            "runtime.dtype": (self.dtype, "auto"),
            "runtime.quantize": (self.quantize, "none"),
            "runtime.offload": (self.offload, "none"),
            "model.vae": (self.vae, "default"),
        }
        return {key: value for key, (value, usual) in values.items() if value != usual}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a profile comes to for one backbone."""

    name: str
    """Name of the profile."""
    step: Step
    """The settings."""
    memory: int
    """Bytes that they take at most."""
    budget: int | None
    """Bytes that there are; None where it does not matter."""

    @property
    def fits(self) -> bool:
        """Whether the memory is enough."""
        return self.budget is None or self.memory <= self.budget


_GPU = (
    Step(computes="bf16"),
    Step(computes="bf16", quantize="int8"),
    Step(computes="bf16", quantize="nf4"),
    Step(computes="bf16", quantize="none", offload="sequential"),
)
_CPU = (
    Step(computes="fp32"),
    Step(dtype="bf16", computes="bf16"),
    Step(dtype="bf16", computes="bf16", quantize="int8"),
)
_LAPTOP = tuple(
    Step(dtype=step.dtype, computes=step.computes, quantize=step.quantize, vae="small")
    for step in (*_CPU, Step(dtype="bf16", computes="bf16", quantize="nf4"))
)
_FIXED: dict[str, tuple[tuple[Step, ...], int | None]] = {
    "laptop": (_LAPTOP, int(16 * _GB * SYSTEM_SHARE)),
    "12gb": (_GPU, int(12 * _GB * SHARE)),
    "24gb": (_GPU, int(24 * _GB * SHARE)),
    "max": (_GPU[:1], None),
}


def choose_profile(name: str, *, backbone: str, device: str = "auto") -> Choice | None:
    """The settings that a profile stands for; None for a backbone that fits anywhere.

    Args:
        name: A name of `PROFILES`.
        backbone: Registry name.
        device: For `auto`: where it will compute, as in `runtime.device`.

    Raises:
        ConfigError: No such profile or backbone.
    """
    if name not in PROFILES:
        raise ConfigError(f"there is no profile {name!r}.", hint=f"known: {', '.join(PROFILES)}")
    if find_family(backbone).parameters is None:
        return None
    steps, budget = _for_device(device) if name == "auto" else _FIXED[name]
    return _first_that_fits(name, steps, budget=budget, backbone=backbone)


def step_bytes(step: Step, *, backbone: str) -> int:
    """Most bytes on the device with these settings."""
    row = memory_row(
        backbone, dtype=step.computes, quantize=step.quantize, small_vae=step.vae == "small"
    )
    return row.vae + row.tile + STREAMED if step.offload == "sequential" else row.total


def _first_that_fits(
    name: str, steps: Sequence[Step], *, budget: int | None, backbone: str
) -> Choice:
    choices = [
        Choice(name=name, step=step, memory=step_bytes(step, backbone=backbone), budget=budget)
        for step in steps
    ]
    return next((choice for choice in choices if choice.fits), choices[-1])


def _for_device(device: str) -> tuple[tuple[Step, ...], int | None]:
    from hypir_cli.models.device import pick_device, total_memory  # imports torch

    chosen = pick_device(device)
    if chosen.type == "mps":
        return _GPU[:1], None
    steps = _GPU if chosen.type == "cuda" else _CPU
    there = tuple(step for step in steps if _installed(step.quantize))
    # Not what is free: pictures must not depend on how busy a machine is.
    share = SHARE if chosen.type == "cuda" else SYSTEM_SHARE
    return there, int(total_memory(chosen) * share)


def _installed(quantize: str) -> bool:
    package = _PACKAGES[quantize]
    return package is None or find_spec(package) is not None
