"""From settings to restored pixels: one loaded model restores image after image."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from hypir_cli.config.restore import ControlConfig, PromptConfig, RestoreConfig
from hypir_cli.errors import ConfigError
from hypir_cli.images import ImageData, quantize
from hypir_cli.images.data import Pixels
from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.load import LoadedModel, encode_prompts_first, load_model, settle
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.pixels.bleed import spread_under
from hypir_cli.pixels.detail import match_texture
from hypir_cli.pixels.texture import TexturePredictor
from hypir_cli.restore.canvas import Source
from hypir_cli.restore.limits import choose_limits
from hypir_cli.restore.parity import ParityTiles, restore_parity
from hypir_cli.restore.restorer import Progress, Restorer
from hypir_cli.restore.tile_pass import Request, StageTimes

logger = logging.getLogger(__name__)

PROBE_SIDE = 384
"""Side in pixels of the windows from which automatic texture is predicted."""
PROBE_COUNT = 3
"""Such windows along each axis, at most."""
AUTO_GAIN = 0.5
"""Fine detail is amplified by at most 1 and this times the root of the enlargement to reach a predicted texture: what is enlarged
lacks more of it, and loses less by it (`benchmarks/peers.py`)."""
AUTO_SHARE = 0.5
"""Of a predicted texture that is aimed at: predictions are often off by a factor of 2, and detail that is there needs no more."""


@dataclass
class Outcome:
    """One image, restored."""

    samples: list[Pixels]
    """One result per seed, (H, W, C) in the input's depth."""
    seeds: list[int]
    """Seed of each sample."""
    texture: float | None
    """Texture asked of the model; None when it was left to it."""
    detail_gains: list[float] = field(default_factory=list)
    """Factor on each sample's fine detail after the model, 1 where nothing was asked."""
    times: StageTimes = field(default_factory=StageTimes)
    """Seconds by stage."""


class Engine:
    """A loaded model and the settings it restores with.

    Args:
        model: Loaded and placed.
        config: All settings; its model part is taken as done.
        prompts: Conditioning of prompts; None starts with none encoded.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        config: RestoreConfig,
        prompts: PromptCache | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.limits = choose_limits(model.backbone, config.tiles)
        self._restorer = Restorer(model.backbone, limits=self.limits)
        self._prompts = prompts or PromptCache(model.backbone)

    @classmethod
    def load(
        cls, config: RestoreConfig | None = None, *, prompts: Sequence[str] | None = None
    ) -> Engine:
        """An engine with its model loaded and placed.

        Args:
            config: All settings; None takes every default (the embedded backbone).
            prompts: Every prompt that will be used, where that is known: they are encoded before the denoiser takes the
                device, and the text encoders are released (unless the embeddings would not fit the host's memory).

        Raises:
            HypirError: Something cannot be found, does not fit, or a control has nothing to act on.
        """
        config = config or RestoreConfig()
        model = load_model(config.model, config.runtime)
        check_controls(model, config.control)
        cache = None
        if prompts is not None:
            used = [_used(model.backbone, prompt) for prompt in prompts]
            _warn_of_overflow(model.backbone, used)
            cache = encode_prompts_first(model, config.runtime, used)
        settle(model, config.runtime)
        return cls(model, config=config, prompts=cache)

    def warnings(self) -> list[str]:
        """What the user asked for that will not act, one sentence each."""
        traits, notes = self.model.backbone.traits, []
        if self.config.prompt != PromptConfig() and not traits.uses_prompt:
            notes.append(f"the backbone {traits.name} does not use prompts; yours changes nothing.")
        if self.config.control.generativity > 0 and not self.model.generativity:
            notes.append(
                f"{self.model.weights} was trained without generativity; the noise is mixed in, but "
                "the model is not told."
            )
        return notes

    def restore(
        self, image: ImageData, *, prompt: str = "", on_progress: Progress | None = None
    ) -> Outcome:
        """One image, restored once per sample.

        Args:
            image: From `hypir_cli.images.read_image`.
            prompt: What it shows; empty for none.
            on_progress: Told (tiles done, tiles in all) for each sample.

        Raises:
            DeviceError: It does not fit the memory, or the networks overflow.
        """
        control = self.config.control
        image = replace(image, pixels=spread_under(image.pixels, image.alpha))
        size = self.config.size.output_size(image.height, image.width)
        texture = self._texture(image, size)
        outcome = Outcome(samples=[], seeds=[], texture=texture)
        for sample in range(control.samples):
            request = self._request(prompt, seed=control.seed + sample, texture=texture)
            pixels = self._once(image, size, request, outcome.times, on_progress)
            with outcome.times.measure("other"):
                outcome.detail_gains.append(self._match_texture(pixels, image, texture))
            outcome.samples.append(pixels)
            outcome.seeds.append(request.seed)
        return outcome

    def _once(
        self,
        image: ImageData,
        size: tuple[int, int],
        request: Request,
        times: StageTimes,
        on_progress: Progress | None,
    ) -> Pixels:
        if self.config.tiles.parity:
            return self._parity(image, size, request)
        return self._restorer.restore(
            image.pixels, request=request, out_size=size, times=times, on_progress=on_progress
        )

    def _match_texture(self, pixels: Pixels, image: ImageData, texture: float | None) -> float:
        """Bring the result to the texture; a predicted one is only approached, since the prediction may be wrong."""
        control = self.config.control
        if texture is None or self.config.tiles.parity:
            return 1.0
        least, most = 1.0 / control.texture_gain, control.texture_gain
        if control.texture == "auto":
            scale = pixels.shape[0] / image.height
            most = min(most, 1.0 + AUTO_GAIN * math.sqrt(max(scale, 1.0)))
            return match_texture(pixels, AUTO_SHARE * texture, least=1.0, most=most)
        return match_texture(pixels, texture, least=least, most=most, soft=True)

    def _parity(self, image: ImageData, size: tuple[int, int], request: Request) -> Pixels:
        """The reference's whole-canvas tiling; needs memory for the whole image in float."""
        whole = Source(image.pixels, out_size=(image.height, image.width))
        restored = restore_parity(
            self.model.backbone,
            whole.window((0, image.height), (0, image.width)),
            prompt=request.prompt,
            tiles=_parity_tiles(self.config.tiles.size),
            upscale=self._parity_scale(image, size),
            posterior_seed=request.seed if request.posterior == "sample" else None,
            timestep=request.timestep,
            coeff_timestep=request.coeff_timestep,
            color_fix=request.color_fix,
        )
        pixels = quantize(restored[0].permute(1, 2, 0).cpu().numpy(), image.bit_depth)
        return pixels[:, :, : image.pixels.shape[2]]

    def _parity_scale(self, image: ImageData, size: tuple[int, int]) -> float:
        scale = size[0] / image.height
        if (int(image.height * scale), int(image.width * scale)) != size:
            raise ConfigError(
                f"--parity enlarges both sides by one factor, which cannot give {size[1]}x{size[0]}.",
                hint="use --scale with --parity",
            )
        return scale

    def _request(self, prompt: str, *, seed: int, texture: float | None) -> Request:
        control, traits = self.config.control, self.model.backbone.traits
        return Request(
            prompt=self._conditioning(prompt),
            seed=seed,
            texture=texture,
            generativity=control.generativity,
            posterior=control.posterior,
            timestep=traits.timestep if control.timestep is None else control.timestep,
            coeff_timestep=traits.coeff_timestep
            if control.coeff_timestep is None
            else control.coeff_timestep,
            color_fix=self.config.color_fix,
        )

    def _conditioning(self, prompt: str) -> PromptEmbeds:
        used = _used(self.model.backbone, prompt)
        if used not in self._prompts:
            _warn_of_overflow(self.model.backbone, [used])
        return self._prompts.get([used])

    def _texture(self, image: ImageData, size: tuple[int, int]) -> float | None:
        wanted = self.config.control.texture
        if wanted != "auto":
            return wanted
        predictor = self.model.predictor
        return None if predictor is None else predict_texture(predictor, image, size=size)


@torch.inference_mode()
def predict_texture(
    predictor: TexturePredictor, image: ImageData, *, size: tuple[int, int]
) -> float:
    """Texture richness of the clean image behind a degraded one, from evenly spread windows of it."""
    source = Source(image.pixels, out_size=size)
    rows, columns = (_spread(length) for length in size)
    values = [float(predictor(source.window(row, column))) for row in rows for column in columns]
    return sum(values) / len(values)


def _spread(length: int) -> list[tuple[int, int]]:
    side = min(PROBE_SIDE, length)
    count = min(PROBE_COUNT, max(1, length // side))
    starts = [(length - side) * index // max(count - 1, 1) for index in range(count)]
    return [(start, start + side) for start in starts]


def check_controls(model: LoadedModel, control: ControlConfig) -> None:
    """Refuse a texture that nothing can follow.

    Raises:
        ConfigError: The checkpoint has no texture conditioning.
    """
    if control.texture is None or control.texture == "auto" or model.texture:
        return
    raise ConfigError(
        f"{model.weights} was trained without texture conditioning, so --texture cannot act on it.",
        hint="drop --texture, or use a checkpoint trained with `texture.enabled: true` "
        "(`hypir info FILE` shows it)",
    )


def _parity_tiles(size: int | None) -> ParityTiles:
    """The reference's tiles, or smaller ones that overlap by half as they do."""
    return ParityTiles() if size is None else ParityTiles(size=size, stride=size // 2)


def _used(backbone: Backbone, prompt: str) -> str:
    """The prompt, or none where the backbone makes nothing of it."""
    return prompt if backbone.traits.uses_prompt else ""


def _warn_of_overflow(backbone: Backbone, prompts: Sequence[str]) -> None:
    for prompt in dict.fromkeys(prompts):
        dropped = backbone.token_overflow(prompt)
        if dropped:
            logger.warning("a prompt is too long; its end is not used: %s", dropped)
