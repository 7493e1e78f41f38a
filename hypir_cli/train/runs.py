"""From settings to a finished run: load the networks, build the stage, train."""

from __future__ import annotations

from dataclasses import replace

import torch

from hypir_cli.config.families import find_family
from hypir_cli.config.train import RunConfig, TrainEncoderConfig, TrainGanConfig
from hypir_cli.errors import CheckpointError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.models.encoder import load_encoder
from hypir_cli.models.lora import add_fresh_lora, attach_lora, read_lora
from hypir_cli.models.perceptual.distances import (
    PerceptualDistance,
    TrunkDistance,
    build_perceptual,
    build_vgg_loss,
)
from hypir_cli.models.perceptual.trunks import EFFICIENTNET, build_trunk
from hypir_cli.models.placement import place, place_text_encoders, quantize_weights
from hypir_cli.models.prompt_cache import PromptCache, usual_limit
from hypir_cli.models.vae import vae_name
from hypir_cli.models.whole import apply_whole
from hypir_cli.pixels.texture import TexturePredictor
from hypir_cli.train.data.prompts import distinct_prompts
from hypir_cli.train.encoder import EncoderStage
from hypir_cli.train.gan import GanStage
from hypir_cli.train.generator import GanModels, timesteps
from hypir_cli.train.loop import run_training
from hypir_cli.train.networks.discriminator import Discriminator
from hypir_cli.train.networks.realesrgan import load_realesrgan
from hypir_cli.train.preflight import check_needs
from hypir_cli.train.report import Observer, RunOutcome
from hypir_cli.train.resume import find_checkpoint
from hypir_cli.train.runtime import Runtime, open_runtime
from hypir_cli.train.stage import Teacher
from hypir_cli.train.trained import AdapterWeights, TrainedWeights, WholeWeights
from hypir_cli.train.validation import Validation

_PROMPTS_AT_ONCE = 16


def train_encoder(
    config: TrainEncoderConfig, *, resume: str | None = None, observer: Observer | None = None
) -> RunOutcome:
    """Run `hypir train-encoder`; see `run_training` for `resume` and what is raised."""
    find_checkpoint(config.output_dir, resume)
    check_needs(config)
    with open_runtime(device=config.device, precision=config.optim.precision) as runtime:
        # The encoder trains in float32, and autocast sees to the speed of the rest.
        backbone = _load(config, runtime.device, dtype=torch.float32, only_vae=True)
        stage = EncoderStage(backbone, config=config, runtime=runtime)
        return run_training(
            stage, config=config, kind="encoder", runtime=runtime, resume=resume, observer=observer
        )


def train_gan(
    config: TrainGanConfig, *, resume: str | None = None, observer: Observer | None = None
) -> RunOutcome:
    """Run `hypir train-gan`; see `run_training` for `resume` and what is raised."""
    find_checkpoint(config.output_dir, resume)
    check_needs(config)
    optim = config.optim
    with open_runtime(
        device=config.device, precision=optim.precision, shard=optim.shard_frozen
    ) as runtime:
        # On the CPU first: the text encoders leave the device before the denoiser enters it.
        # What trains is kept in float32; autocast sees to the speed.
        dtype = torch.float32 if config.lora.is_full else runtime.dtype
        backbone = _load(config, torch.device("cpu"), dtype=dtype)
        stage = build_gan_stage(backbone, config=config, runtime=runtime)
        return run_training(
            stage, config=config, kind="gan", runtime=runtime, resume=resume, observer=observer
        )


def build_gan_stage(backbone: Backbone, *, config: TrainGanConfig, runtime: Runtime) -> GanStage:
    """The adversarial stage on a loaded backbone, which gets adapters (or whose weights train) and, if trained, controls.

    Raises:
        InputError: There is no training data.
        BackboneError: Weights of the trunk or of the perceptual loss, or the quantising package, cannot be had.
        DeviceError: The device has too little memory, or cannot compute in the quantised format.
        CheckpointError: `lora.start` does not fit.
    """
    place_text_encoders(backbone, device=runtime.device)
    prompts = _prompt_cache(backbone, config=config, runtime=runtime)
    info, trained = _adapt(backbone, config=config)
    quantize_weights(backbone.denoiser, config.lora.quantize_base, device=runtime.device)
    place(backbone, device=runtime.device)
    runtime.shard_frozen(backbone.denoiser)
    discriminator = perceptual = None
    if config.loss.adversarial > 0:
        trunk = build_trunk(config.discriminator.trunk, seed=config.seed)
        discriminator = Discriminator(trunk, config=config.discriminator, seed=config.seed)
        discriminator = discriminator.to(runtime.device)
    if config.loss.perceptual > 0:
        perceptual = _perceptual(config, discriminator)
        perceptual = perceptual.to(runtime.device) if perceptual is not None else None
    models = GanModels(
        backbone=backbone,
        discriminator=discriminator,
        perceptual=perceptual,
        prompts=prompts,
        predictor=TexturePredictor() if config.controls.texture else None,
        trained=trained,
        teacher=_teacher(config, runtime=runtime),
    )
    return GanStage(models, config=config, info=info, runtime=runtime)


def _teacher(config: TrainGanConfig, *, runtime: Runtime) -> Teacher | None:
    if config.teacher.name == "none":
        return None
    network = load_realesrgan(config.teacher.weights).to(runtime.device)
    return network.to(memory_format=torch.channels_last)


def _perceptual(
    config: TrainGanConfig, discriminator: Discriminator | None
) -> PerceptualDistance | None:
    """The perceptual loss, through the discriminator's own trunk where that is the network it wants."""
    kind = config.loss.perceptual_kind
    if discriminator is not None and kind == config.discriminator.trunk == EFFICIENTNET:
        return TrunkDistance(discriminator.trunk)
    loss = config.loss
    if loss.perceptual_features == "raw" or loss.perceptual_levels:
        return build_vgg_loss(
            kind, features=loss.perceptual_features, levels=loss.perceptual_levels
        )
    return build_perceptual(kind)


def _load(
    config: RunConfig, device: torch.device, *, dtype: torch.dtype, only_vae: bool = False
) -> Backbone:
    model = config.model
    backbone = load_backbone(
        model.backbone,
        base=model.base,
        revision=model.revision,
        device=device,
        dtype=dtype,
        vae=model.vae,
        only_vae=only_vae,
    )
    if model.encoder is not None:
        load_encoder(backbone, model.encoder)
    if config.optim.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()
    return backbone


def _adapt(backbone: Backbone, *, config: TrainGanConfig) -> tuple[CheckpointInfo, TrainedWeights]:
    """Put adapters and controls into the backbone; gives the header of the files to come, and what trains."""
    lora, controls = config.lora, config.controls
    timestep, coeff_timestep = timesteps(backbone, config)
    info = CheckpointInfo(
        kind="lora",
        backbone=backbone.traits.name,
        base=config.model.base or "",
        base_revision=config.model.revision or "",
        vae=vae_name(config.model.vae, family=find_family(config.model.backbone)),
        timestep=timestep,
        coeff_timestep=coeff_timestep,
        texture=controls.texture,
        generativity=controls.generativity,
    )
    if controls.enabled:
        torch.manual_seed(config.seed)
        backbone.enable_controls()
    if lora.is_full:
        if lora.start is not None:
            apply_whole(backbone, lora.start)
        return replace(info, kind="backbone"), WholeWeights(backbone, frozen=lora.frozen)
    if lora.start is not None:
        info = _continue_lora(backbone, info, config=config)
        return info, AdapterWeights(backbone.denoiser)
    targets = lora.targets or backbone.traits.lora_targets
    alpha = float(lora.rank if lora.alpha is None else lora.alpha)
    assert isinstance(lora.rank, int)
    add_fresh_lora(
        backbone.denoiser, rank=lora.rank, alpha=alpha, targets=targets, seed=config.seed
    )
    info = replace(info, lora_rank=lora.rank, lora_alpha=alpha, lora_targets=tuple(targets))
    return info, AdapterWeights(backbone.denoiser)


def _continue_lora(
    backbone: Backbone, info: CheckpointInfo, *, config: TrainGanConfig
) -> CheckpointInfo:
    assert config.lora.start is not None
    state = read_lora(config.lora.start)
    if state.info.backbone and state.info.backbone != info.backbone:
        raise CheckpointError(
            f"{config.lora.start} belongs to the backbone {state.info.backbone!r}, not {info.backbone!r}.",
            hint=f"set model.backbone: {state.info.backbone}, or leave lora.start out",
        )
    attach_lora(backbone.denoiser, state)
    if state.controls and backbone.control_embedding is not None:
        backbone.control_embedding.load_state_dict(dict(state.controls))
    started = state.info
    return replace(
        info,
        lora_rank=started.lora_rank,
        lora_alpha=started.lora_alpha,
        lora_targets=started.lora_targets,
    )


def _prompt_cache(backbone: Backbone, *, config: TrainGanConfig, runtime: Runtime) -> PromptCache:
    """Embeddings of all prompts; the text encoders go when these are all there can be and fit the memory."""
    limit = usual_limit(processes=runtime.world_size)
    cache = PromptCache(backbone, max_bytes=limit, chunk=_PROMPTS_AT_ONCE)
    known = distinct_prompts(config.data)
    if known is not None:
        cache.prefill([*known, *Validation(config, runtime=runtime).prompts()])
    return cache
