"""The adversarial stage: adapters of the denoiser, or all weights, against a discriminator.

One generator forward serves both players: the discriminator judges the very images the generator was corrected on, and
reuses the features that its trunk made of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hypir_cli.config.run_dir import EMA_FILE
from hypir_cli.config.train import TrainGanConfig
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.checkpoint import CheckpointInfo, split_prefix
from hypir_cli.models.lora import CONTROL_PREFIX, PREDICTOR_PREFIX
from hypir_cli.models.perceptual.trunks import TrunkFeatures
from hypir_cli.train.adversarial import (
    GeneratorOutcome,
    discriminator_step,
    disturbed_features,
    generator_step,
    real_images,
    shown_images,
)
from hypir_cli.train.ema import Ema
from hypir_cli.train.generator import GanModels, finish, generate, with_scaled_detail
from hypir_cli.train.mirror import with_mirrored
from hypir_cli.train.networks.discriminator import Discriminator
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs, ParameterGroup, Stage, WeightsFile
from hypir_cli.train.state import load_fitting

HEADS_FILE = "discriminator.safetensors"


class GanStage(Stage):
    """See the module.

    Args:
        models: Networks.
        config: Settings.
        info: Header of the LoRA files, without step.
        runtime: The processes.
    """

    result_name = EMA_FILE

    def __init__(
        self, models: GanModels, *, config: TrainGanConfig, info: CheckpointInfo, runtime: Runtime
    ) -> None:
        self.models = models
        self.teacher = models.teacher
        self._config = config
        self._info = info
        self._runtime = runtime
        self._statistics: list[Tensor] = []
        self._norms_moved = False
        backbone = models.backbone
        trained = models.trained.named()
        self._trained_keys = list(trained)
        self._control_keys: list[str] = []
        weights = list(trained.values())
        if backbone.control_embedding is not None:
            embedding = backbone.control_embedding.requires_grad_(models.trained.reach_controls)
            named = dict(embedding.named_parameters())
            self._control_keys = list(named)
            weights = [*weights, *named.values()]
        self.ema = Ema(weights, decay=config.ema.decay, warmup=config.ema.warmup)
        moving = [weight for weight in weights if weight.requires_grad]
        groups = [ParameterGroup(name="generator", parameters=moving)]
        if models.discriminator is not None:
            heads = list(models.discriminator.heads.parameters())
            groups.append(ParameterGroup(name="discriminator", parameters=heads, judges=True))
        self.groups = tuple(groups)

    def accumulate(self, pairs: Pairs, *, scale: float) -> dict[str, Tensor]:
        """Gradients of both players from one generator forward."""
        models, config, runtime = self.models, self._config, self._runtime
        pairs = with_scaled_detail(pairs, config=config.controls)
        symmetry = 0
        if config.loss.mirror and not self._alone:
            pairs, symmetry = with_mirrored(pairs)
        with runtime.autocast(), torch.set_grad_enabled(not self._alone):
            restored, controls = generate(models, pairs, config=config)
        outcome = None
        scalars: dict[str, Tensor] = {}
        if not self._alone:
            outcome = generator_step(
                models,
                restored,
                pairs,
                controls=controls,
                symmetry=symmetry,
                config=config,
                runtime=runtime,
                scale=scale,
            )
            scalars |= outcome.scalars
        if models.discriminator is not None:
            scalars |= self._judge(models.discriminator, restored, pairs, outcome, scale=scale)
        if models.predictor is not None:
            self._statistics.append(models.predictor.statistics(pairs.lq, pairs.gt))
        return scalars

    def updated(self) -> None:
        """Move the average, and refit the texture predictor."""
        self.ema.update()
        self._norms_moved = False
        if self.models.predictor is not None and self._statistics:
            statistics = torch.stack(self._statistics).sum(0)
            self.models.predictor.update(self._runtime.sum(statistics))
        self._statistics.clear()

    @torch.no_grad()
    def restore(self, pairs: Pairs) -> Tensor:
        """Restored images with the texture that the predictor expects, and no added noise."""
        controls = None
        if self._config.controls.enabled:
            predictor = self.models.predictor
            ready = predictor is not None and bool(predictor.count > 0)
            texture = predictor(pairs.lq) if predictor is not None and ready else None
            controls = Controls(texture=texture, generativity=torch.zeros(len(pairs)))
        with self._runtime.autocast():
            latents = self.models.backbone.encode(pairs.lq)
            return finish(self.models, latents, pairs, controls=controls, config=self._config)

    def files(self, *, step: int) -> list[WeightsFile]:
        """EMA, raw weights and heads."""
        info = replace(self._info, training_step=step)
        live = [parameter.detach() for parameter in self.ema.parameters]
        files = [
            WeightsFile(
                name=EMA_FILE, tensors=self._named(self.ema.shadow), info=replace(info, ema=True)
            ),
            WeightsFile(name=self.models.trained.file_name, tensors=self._named(live), info=info),
        ]
        if self.models.discriminator is not None:
            heads = self.models.discriminator.heads.state_dict()
            kind = CheckpointInfo(kind="discriminator", backbone=info.backbone, training_step=step)
            files.append(WeightsFile(name=HEADS_FILE, tensors=heads, info=kind))
        return files

    def load(self, folder: Path, *, ema_updates: int) -> None:
        """Continue from a checkpoint of this stage."""
        backbone = self.models.backbone
        wanted = [file.name for file in self.files(step=0)]
        loaded = {
            name: load_fitting(folder / name, backbone=self._info.backbone) for name in wanted
        }
        live = folder / self.models.trained.file_name
        weights, controls, predictor = self._split(loaded[live.name])
        self.models.trained.load(weights, source=str(live))
        if backbone.control_embedding is not None:
            backbone.control_embedding.load_state_dict(controls)
        if self.models.predictor is not None:
            self.models.predictor.load_state_dict(predictor)
        weights, controls, _ = self._split(loaded[EMA_FILE])
        average = [weights[key] for key in self._trained_keys]
        average += [controls[key] for key in self._control_keys]
        self.ema.load(average, num_updates=ema_updates)
        if self.models.discriminator is not None:
            self.models.discriminator.heads.load_state_dict(loaded[HEADS_FILE])

    @property
    def _alone(self) -> bool:
        """Whether the discriminator still trains without the generator."""
        return self.ema.num_updates < self._config.discriminator.alone_steps

    def _judge(
        self,
        discriminator: Discriminator,
        restored: Tensor,
        pairs: Pairs,
        outcome: GeneratorOutcome | None,
        *,
        scale: float,
    ) -> dict[str, Tensor]:
        """Gradients of the discriminator; what the generator's step (None without one) made of the images is used again."""
        settings, runtime = self._config.discriminator, self._runtime
        disturbed = None
        with torch.no_grad(), runtime.autocast():
            real = real_images(self.models.backbone, pairs, config=self._config)
            real_features = self._made(outcome, real, pairs) or discriminator.features(real)
            fake_features = None if outcome is None else outcome.fake_features
            if fake_features is None:
                fake = restored.detach()
                shown = shown_images(fake, pairs, config=self._config)
                fake_features = discriminator.features(fake, shown=shown)
            if settings.r1:
                disturbed = disturbed_features(discriminator, real, pairs, sigma=settings.r1_sigma)
        scalars = discriminator_step(
            discriminator,
            real_features,
            fake_features,
            disturbed,
            config=settings,
            runtime=runtime,
            scale=scale,
            iterate_norms=not self._norms_moved,
        )
        self._norms_moved = True
        return scalars

    def _made(
        self, outcome: GeneratorOutcome | None, real: Tensor, pairs: Pairs
    ) -> TrunkFeatures | None:
        """Trunk features of the real images, where a loss of the generator has made them already."""
        if outcome is None or outcome.real_features is not None:
            return None if outcome is None else outcome.real_features
        is_target = real is pairs.reference and self._config.loss.target == "clean"
        return outcome.target_features if is_target else None

    def _named(self, values: list[Tensor]) -> dict[str, Tensor]:
        keys = [*self._trained_keys, *(f"{CONTROL_PREFIX}{key}" for key in self._control_keys)]
        tensors = dict(zip(keys, values, strict=True))
        if self.models.predictor is not None:
            state = self.models.predictor.state_dict()
            tensors |= {f"{PREDICTOR_PREFIX}{key}": value for key, value in state.items()}
        return tensors

    def _split(
        self, tensors: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        controls, rest = split_prefix(tensors, CONTROL_PREFIX)
        predictor, weights = split_prefix(rest, PREDICTOR_PREFIX)
        return weights, controls, predictor
