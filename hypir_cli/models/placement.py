"""Where a backbone's networks wait and compute, and how its denoiser's weights are stored.

The order that needs the least memory: load on the CPU, add the LoRA, `quantize`, then `place`; encode all prompts and release
the text encoders first where the device cannot hold them beside the denoiser (`place_text_encoders`). The VAE is small and always
stays on the device.
"""

from __future__ import annotations

import importlib
import re
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from hypir_cli.errors import BackboneError, ConfigError, DeviceError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.execution import is_quantized, set_execution_device

Offload = Literal["none", "model", "sequential"]
Quantize = Literal["none", "int8", "fp8", "nf4"]
Layer = TypeVar("Layer", bound=nn.Module)

_PACKAGES = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
_IN_BLOCK = re.compile(r"\.\d+\.")
"""Repeated blocks have a number in their path; embeddings and the output layer have none and stay exact."""


def place(backbone: Backbone, *, device: torch.device | str, offload: Offload = "none") -> None:
    """Put a loaded backbone where it computes.

    Args:
        backbone: Changed in place; its text encoders may have been released.
        device: Where it computes.
        offload: `none`: everything stays on the device. `model`: the denoiser and the text encoders take turns there.
            `sequential`: their layers visit the device one by one, which is slow and needs the least memory.

    Raises:
        ConfigError: Offloading from the CPU to itself.
        DeviceError: The device has too little memory.
    """
    device = torch.device(device)
    parts = backbone.components()
    resident = list(parts) if offload == "none" else ["vae"]
    travelling = [parts[name] for name in parts if name not in resident]
    if travelling and device.type == "cpu":
        raise ConfigError(
            f"--offload {offload} needs a device other than the CPU to offload from.",
            hint="drop --offload, or choose --device cuda or mps",
        )
    _move([parts[name] for name in resident], device)
    if backbone.control_embedding is not None:
        backbone.control_embedding.to(device)
    if offload == "model":
        take_turns(travelling, device=device)
    elif offload == "sequential":
        for module in travelling:
            stream_layers(module, device=device)


def place_text_encoders(backbone: Backbone, *, device: torch.device | str) -> None:
    """Put only the text encoders where they compute, before the denoiser takes their place.

    Raises:
        DeviceError: The device has too little memory.
    """
    parts = backbone.components()
    encoders = [module for name, module in parts.items() if name.startswith("text_encoder")]
    _move(encoders, torch.device(device))


def quantize_weights(
    denoiser: nn.Module, kind: Quantize, *, device: torch.device | str = "cpu"
) -> None:
    """Store the linear weights of a denoiser's blocks in 8 or 4 bits, in place; adapters beside them stay float32.

    Each weight is converted on `device` and stays there, so the device never holds the unquantised network. Convolutions,
    embeddings, norms and the output layer keep their dtype. Merge a LoRA before; attach one to train before or after.

    Args:
        denoiser: Network to change.
        kind: `int8` and `fp8` (torchao, weight only) or `nf4` (bitsandbytes).
        device: Where to convert.

    Raises:
        BackboneError: The package is not installed.
        DeviceError: The device cannot compute in this format.
    """
    if kind == "none":
        return
    package = require_package(kind)
    layers = quantizable_layers(denoiser)
    if not layers:
        raise BackboneError(
            f"{type(denoiser).__name__} has no blocks of linear layers to quantise.",
            hint="drop --quantize",
        )
    convert = partial(_to_nf4, package) if kind == "nf4" else partial(_to_torchao, package, kind)
    for name, layer in layers.items():
        try:
            replacement = convert(layer.to(device))
        except (RuntimeError, TypeError, AssertionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeviceError(
                f"{torch.device(device)} cannot store weights as {kind}: {reason}",
                hint="choose another --quantize, or none",
            ) from error
        parent, _, child = name.rpartition(".")
        setattr(denoiser.get_submodule(parent), child, replacement)


def quantizable_layers(denoiser: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers inside the denoiser's repeated blocks by path, adapters left out."""
    return block_layers(denoiser, nn.Linear)


def block_layers(denoiser: nn.Module, kind: type[Layer]) -> dict[str, Layer]:
    """Layers of a kind inside the denoiser's repeated blocks by path, adapters left out."""
    return {
        name: module
        for name, module in denoiser.named_modules()
        if isinstance(module, kind) and _IN_BLOCK.search(name) and ".lora_" not in name
    }


def take_turns(modules: Sequence[nn.Module], *, device: torch.device) -> None:
    """Let networks wait in CPU memory; the one that is called moves to the device and the others leave it.

    accelerate's own hook for this lets only the network before leave, and keeps released ones alive.
    """
    for module in modules:
        module.to("cpu")
        set_execution_device(module, device)
        # Weak, so that released text encoders leave the memory.
        others = [weakref.ref(other) for other in modules if other is not module]
        module.register_forward_pre_hook(partial(_enter, others=others, device=device))


def stream_layers(module: nn.Module, *, device: torch.device) -> None:
    """Let a network wait in CPU memory; each layer's weights visit the device while it computes."""
    module.to("cpu")
    set_execution_device(module, device)
    # Both slow to import, and most runs need neither.
    if is_quantized(module):
        # accelerate asks for each weight by its dtype, which quantised ones do not have.
        from diffusers.hooks import apply_group_offloading

        apply_group_offloading(
            module,
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
        )
    else:
        from accelerate import cpu_offload

        cpu_offload(module, execution_device=device)


def compile_networks(backbone: Backbone) -> None:
    """Compile the denoiser's repeated blocks, once for all that are alike, and the two halves of the VAE.

    A block is compiled in a fraction of the time that the whole network takes, and serves its twins. The VAE's blocks have no
    twins: each has its own size. The hooks of `take_turns` stay outside the compiled code, so that networks still travel.
    """
    for block in repeated_blocks(backbone.denoiser):
        block.compile()
    for half in backbone.components()["vae"].children():
        half.forward = torch.compile(half.forward)


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """Blocks that diffusers names as repeated; where it names none, lists of blocks two of which have the same weights' shapes.

    A network without any is its own only block.
    """
    names = getattr(network, "_repeated_blocks", None) or ()
    named = [part for part in network.modules() if type(part).__name__ in names]
    return named or list(_alike(network)) or [network]


def _alike(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        parts = list(child.children()) if isinstance(child, nn.ModuleList) else []
        shapes = [_shapes(part) for part in parts if next(part.children(), None) is not None]
        if len(set(shapes)) < len(shapes):
            yield from parts
        else:
            yield from _alike(child)


def _shapes(module: nn.Module) -> tuple[tuple[str, torch.Size], ...]:
    return tuple((name, value.shape) for name, value in module.named_parameters())


def _enter(
    module: nn.Module,
    args: tuple[Any, ...],
    *,
    others: Sequence[weakref.ref[nn.Module]],
    device: torch.device,
) -> None:
    if next(module.parameters()).device == device:
        return
    for reference in others:
        other = reference()
        if other is not None:
            other.to("cpu")
    _move([module], device)


def _move(modules: Sequence[nn.Module], device: torch.device) -> None:
    try:
        for module in modules:
            module.to(device)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device} has too little memory for the networks.",
            hint="use --offload model or sequential, --quantize int8 or nf4, or a smaller backbone",
        ) from error


def require_package(kind: Quantize) -> Any:
    """The package that converts to a number format.

    Raises:
        BackboneError: It is not installed.
    """
    package = _PACKAGES[kind]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BackboneError(
            f"--quantize {kind} needs the package {package}, which is not installed.",
            hint=f"pip install {package}, or pip install 'hypir[quantize]'",
        ) from error


def _to_torchao(package: Any, kind: Quantize, layer: nn.Linear) -> nn.Linear:
    settings = package.quantization
    config = settings.Int8WeightOnlyConfig if kind == "int8" else settings.Float8WeightOnlyConfig
    # The filter that comes with it leaves out layers that are not named like a model's.
    settings.quantize_(layer, config(), filter_fn=lambda module, _: module is layer)
    return layer.requires_grad_(False)


def _to_nf4(package: Any, layer: nn.Linear) -> nn.Linear:
    weight = layer.weight
    packed: nn.Linear = package.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=weight.dtype,
        quant_type="nf4",
        device="meta",
    )
    packed.weight = package.nn.Params4bit(
        weight.data, requires_grad=False, quant_type="nf4", module=packed
    )
    packed.bias = layer.bias
    return packed.to(weight.device).requires_grad_(False)
