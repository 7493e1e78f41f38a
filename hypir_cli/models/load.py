"""Load a model with everything the settings put into it, in the order that needs the least memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hypir_cli.config.families import family_names, find_family
from hypir_cli.config.restore import ModelConfig, RuntimeConfig
from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import CheckpointInfo, read_folder_info, read_info, require_match
from hypir_cli.models.device import free_memory, pick_device, pick_dtype
from hypir_cli.models.encoder import load_encoder
from hypir_cli.models.hub import find_lora
from hypir_cli.models.int8 import Int8Choice, calibration_bytes, multiplies_int8
from hypir_cli.models.lora import LoraState, read_lora
from hypir_cli.models.placement import (
    compile_networks,
    place,
    place_text_encoders,
    quantize_weights,
)
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.models.run_weights import find_trained_weights
from hypir_cli.models.vae import same_vae, vae_name
from hypir_cli.models.weights import apply_lora, use_timesteps
from hypir_cli.models.whole import apply_whole
from hypir_cli.pixels.texture import TexturePredictor

logger = logging.getLogger(__name__)

CALIBRATION_SHARE = 0.7
"""Of the free memory, what choosing the layers for 8 bits may take."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A backbone with everything the settings put into it."""

    backbone: Backbone
    """Ready to restore."""
    texture: bool
    """Whether texture conditioning was trained."""
    generativity: bool
    """Whether generativity conditioning was trained."""
    weights: str
    """Name of the weights that decide about controls, for messages."""
    predictor: TexturePredictor | None = None
    """Predicts texture from the input; None where the checkpoint has no such part."""
    vae_notes: tuple[str, ...] = ()
    """Parts that were trained with another VAE than the one in use, one sentence each."""
    nearer: LoadedModel | None = None
    """The same backbone with a second LoRA, nearer to the input; it uses the first one's prompts."""
    wants_int8: bool = False
    """Whether the denoiser is still to be brought to 8 bits, by a picture that says which of its layers bear it."""
    int8: tuple[Int8Choice, ...] = ()
    """Which layers of each denoiser compute in 8 bits; empty where none was asked to."""


def load_model(config: ModelConfig, runtime: RuntimeConfig) -> LoadedModel:
    """A backbone with its LoRA and its fine-tuned encoder, on the CPU; `place_model` puts it where it computes.

    Raises:
        HypirError: Something cannot be found, read, or does not fit.
    """
    _require_possible(runtime)
    config = completed(config)
    model = _load_one(config, runtime)
    if config.lora_fidelity is None:
        return model
    second = replace(config, lora=config.lora_fidelity, lora_fidelity=None)
    nearer = _load_one(second, runtime)
    nearer.backbone.release_text_encoders()
    return replace(model, nearer=nearer)


def completed(config: ModelConfig) -> ModelConfig:
    """The settings with the backbone and base that the LoRA names, where they were left at their defaults.

    Raises:
        CheckpointError: The LoRA's file or folder is there but holds none.
    """
    place = Path(config.lora).expanduser() if config.lora else None
    if place is None or config.backbone != ModelConfig().backbone or not place.exists():
        return config
    info = read_info(find_trained_weights(place))
    if (
        info is None
        or info.backbone in ("", config.backbone)
        or info.backbone not in family_names()
    ):
        return config
    base = config.base
    if base is None and info.base and Path(info.base).expanduser().is_dir():
        base = info.base
    logger.info("%s was trained for %s, which is used", place, info.backbone)
    return replace(config, backbone=info.backbone, base=base)


def _load_one(config: ModelConfig, runtime: RuntimeConfig) -> LoadedModel:
    family = find_family(config.backbone)
    merged = _merged_into_base(config)
    path = None if merged else find_lora(config.lora, name=family.name, preset=family.preset)
    if path is None and merged is None and not family.embedded:
        raise BackboneError(
            f"there is no public restoration LoRA for {config.backbone}.",
            hint="give one with --lora; `hypir train-gan` trains it",
        )
    backbone = load_backbone(
        config.backbone,
        base=config.base,
        revision=config.revision,
        device="cpu",
        dtype=pick_dtype(runtime.dtype, pick_device(runtime.device)),
        vae=config.vae,
    )
    if merged is not None:
        use_timesteps(backbone, merged)
    state = whole = None
    if path is not None and config.lora_scale != 0:
        if _is_whole(path):
            whole = _apply_whole(backbone, path, scale=config.lora_scale)
        else:
            state = read_lora(path)
            apply_lora(backbone, state, scale=config.lora_scale, merge=config.merge_lora)
    infos = {} if path is None or state is None else {path.name: state.info}
    if config.encoder is not None:
        infos[config.encoder.name] = load_encoder(backbone, config.encoder)
    model = _described(backbone, state, whole=whole, path=path)
    return replace(model, vae_notes=_vae_notes(infos, vae_name(config.vae, family=family)))


def _vae_notes(infos: Mapping[str, CheckpointInfo], vae: str) -> tuple[str, ...]:
    own = "the base's own VAE"
    return tuple(
        f"{name} was trained with {info.vae or own}; this run uses {vae or own}, which may cost quality."
        for name, info in infos.items()
        if not same_vae(info.vae, vae)
    )


def _is_whole(path: Path) -> bool:
    """Whether a file holds all weights instead of adapters."""
    info = read_info(path)
    return info is not None and info.kind == "backbone"


def _apply_whole(backbone: Backbone, path: Path, *, scale: float) -> CheckpointInfo:
    if scale != 1.0:
        raise ConfigError(
            f"{path.name} holds whole weights, which have no strength of {scale:g}.",
            hint="leave --lora-scale out, or give adapters",
        )
    return apply_whole(backbone, path)


def _merged_into_base(config: ModelConfig) -> CheckpointInfo | None:
    """What `hypir export-lora --format merged` wrote beside the base, unless another LoRA is asked for."""
    if config.base is None or config.lora is not None:
        return None
    folder = Path(config.base).expanduser()
    info = read_folder_info(folder)
    require_match(info, kind="backbone", backbone=config.backbone, source=str(folder))
    return info


def encode_prompts_first(
    model: LoadedModel, runtime: RuntimeConfig, prompts: Sequence[str]
) -> PromptCache:
    """Conditioning of all prompts, computed while the device holds the text encoders alone, which are then released.

    Where there are so many that they do not fit the host's memory, the text encoders stay.
    """
    place_text_encoders(model.backbone, device=pick_device(runtime.device))
    cache = PromptCache(model.backbone)
    cache.prefill(prompts)
    return cache


def place_model(model: LoadedModel, runtime: RuntimeConfig) -> LoadedModel:
    """Quantise, place and compile the networks as the settings say, in place.

    Returns:
        The model; on a CPU that computes in 8 bits its denoiser waits for a picture (`wants_int8`).

    Raises:
        HypirError: The device is too small, or cannot do what was asked.
    """
    device = pick_device(runtime.device)
    if device.type == "cuda":
        # Some quantised and compiled kernels run on the current GPU, whichever holds their tensors.
        torch.cuda.set_device(device)
    waits = runtime.quantize == "int8" and device.type == "cpu" and _can_calibrate(model, runtime)
    for part in (model, model.nearer):
        if part is None:
            continue
        if not waits:
            quantize_weights(part.backbone.denoiser, runtime.quantize, device=device)
        place(part.backbone, device=device, offload=runtime.offload)
        if runtime.compile:
            compile_networks(part.backbone)
    return replace(model, wants_int8=waits)


def _can_calibrate(model: LoadedModel, runtime: RuntimeConfig) -> bool:
    """Whether layers can compute in 8 bits here, and the memory holds what choosing them takes."""
    if not multiplies_int8() or runtime.compile:
        return False
    part = model.backbone
    room = free_memory(torch.device("cpu")) * CALIBRATION_SHARE
    if calibration_bytes(part.denoiser) <= room:
        return True
    logger.warning(
        "too little memory to choose layers that compute in 8 bits; weights are only stored in them."
    )
    return False


def _require_possible(runtime: RuntimeConfig) -> None:
    if runtime.compile and runtime.offload == "sequential":
        raise ConfigError(
            "--compile cannot be combined with --offload sequential: compiled code knows no layers "
            "that could visit the device one by one.",
            hint="use --offload model, or leave --compile out",
        )


def _described(
    backbone: Backbone, state: LoraState | None, *, whole: CheckpointInfo | None, path: Path | None
) -> LoadedModel:
    trained = backbone.control_embedding is not None
    if whole is not None and path is not None:
        return LoadedModel(
            backbone=backbone,
            texture=whole.texture,
            generativity=whole.generativity,
            weights=f"the checkpoint {path.name}",
            predictor=backbone.texture_predictor,
        )
    if state is None:
        return LoadedModel(
            backbone=backbone,
            texture=trained,
            generativity=trained,
            weights=f"the backbone {backbone.traits.name}",
            predictor=backbone.texture_predictor,
        )
    return LoadedModel(
        backbone=backbone,
        texture=state.info.texture,
        generativity=state.info.generativity,
        weights=f"the checkpoint {Path(state.source).name}",
        predictor=TexturePredictor.from_tensors(state.predictor) if state.predictor else None,
    )
