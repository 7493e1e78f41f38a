"""From settings to restored pixels: one loaded model restores image after image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from hypir_cli.config.restore import PromptConfig, RestoreConfig
from hypir_cli.errors import ConfigError, DeviceError
from hypir_cli.folder.events import Progress
from hypir_cli.images import ImageData, image_size, quantize
from hypir_cli.images.data import Pixels
from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.device import dtype_name, is_out_of_memory
from hypir_cli.models.load import LoadedModel, encode_prompts_first, load_model, place_model
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.pixels.bleed import spread_under
from hypir_cli.restore.blend import enlarged_rows, mixed
from hypir_cli.restore.calibration import calibrated
from hypir_cli.restore.limits import choose_limits
from hypir_cli.restore.outcome import Outcome
from hypir_cli.restore.parity import ParityTiles, restore_parity
from hypir_cli.restore.restorer import Restorer, TileLimits
from hypir_cli.restore.richness import meet_texture, predict_texture
from hypir_cli.restore.streaming import InputWindows
from hypir_cli.restore.tile_pass import Request
from hypir_cli.restore.times import StageTimes

logger = logging.getLogger(__name__)

FIDELITY_SHARE = 0.25
"""Of the coefficient timestep: that of the restoration nearer to the input which `fidelity` mixes in, where there is no LoRA for it."""
INPUT_SHARE = 0.5
"""Of the enlarged input in that restoration, where a smaller coefficient timestep brings nothing nearer (`trained_as_one`)."""


class Engine:
    """A loaded model and the settings it restores with.

    Args:
        model: Loaded and placed; one that waits for 8 bits (`wants_int8`) computes exactly.
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
        limits = choose_limits(model.backbone, config.tiles)
        self._restorer = Restorer(model.backbone, limits=limits)
        self._nearer_restorer = self._restorer
        if model.nearer is not None:
            self._nearer_restorer = Restorer(model.nearer.backbone, limits=limits)
        self._prompts = prompts or PromptCache(model.backbone)

    @property
    def limits(self) -> TileLimits:
        """Tile limits that the next image starts with; smaller than at first once the memory ran out."""
        return self._restorer.limits

    @classmethod
    def load(
        cls, config: RestoreConfig | None = None, prompts: Sequence[str] | None = None
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
        if config.runtime.calibrate_on is not None:
            image_size(config.runtime.calibrate_on)  # before the wait for the model
        model = load_model(config.model, config.runtime)
        cache = None
        if prompts is not None:
            # The calibration picture has none.
            calibration = ("",) if config.runtime.quantize == "int8" else ()
            used = [_used(model.backbone, prompt) for prompt in (*calibration, *prompts)]
            _warn_of_overflow(model.backbone, used)
            cache = encode_prompts_first(model, config.runtime, used)
        model = place_model(model, config.runtime)
        if model.wants_int8:
            cache = cache or PromptCache(model.backbone)
            model = calibrated(model, own=config.runtime.calibrate_on, prompts=cache)
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
        notes += self.model.vae_notes
        control = self.config.control
        if control.posterior == "sample" and not self.model.backbone.has_posterior:
            notes.append("--posterior sample changes nothing: a small VAE gives no spread.")
        if self.config.runtime.calibrate_on is not None and not self.model.int8:
            notes.append("--calibrate-on changes nothing: no layer computes in 8 bits in this run.")
        if control.fidelity == 0 and self.model.nearer is not None:
            notes.append("--lora-fidelity changes nothing without --fidelity.")
        if control.generativity == 0 and control.generativity_where != "everywhere":
            notes.append("--generativity-where changes nothing without --generativity.")
        if self.config.control.texture not in (None, "auto") and not self.model.texture:
            notes.append(
                f"{self.model.weights} was trained without texture conditioning; the result is "
                "brought to the asked texture after the model."
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
        source = InputWindows(image.pixels, out_size=size)
        outcome = Outcome(
            samples=[],
            seeds=[],
            texture=self._texture(image, size),
            enlarged=partial(enlarged_rows, source),
            times=StageTimes(device=self.model.backbone.device),
        )
        for sample in range(control.samples):
            seed = control.seed + sample
            pixels = self._faithful(image, size, prompt, seed, outcome, on_progress)
            with outcome.times.measure("other"):
                meet_texture(
                    pixels,
                    outcome,
                    given=image.pixels,
                    control=control,
                    scale=size[0] / image.height,
                    parity=self.config.tiles.parity,
                )
                outcome.full.append(pixels)
                outcome.samples.append(outcome.blend(control.strength, sample=sample))
            outcome.seeds.append(seed)
        return outcome

    def _faithful(
        self,
        image: ImageData,
        size: tuple[int, int],
        prompt: str,
        seed: int,
        outcome: Outcome,
        on_progress: Progress | None,
    ) -> Pixels:
        """The model's result, mixed as `fidelity` says with one that is nearer to the input."""
        request = self._request(prompt, seed=seed, texture=outcome.texture)
        share = self.config.control.fidelity
        times = outcome.times
        takes_input = self.model.nearer is None and self.model.backbone.traits.trained_as_one
        near_request = self._nearer(request)
        if share == 1.0 and not takes_input:
            return self._once(self._nearer_restorer, image, size, near_request, times, on_progress)
        pixels = self._once(self._restorer, image, size, request, times, on_progress)
        if share == 0.0:
            return pixels
        if takes_input:
            return mixed(outcome.enlarged, pixels, 1.0 - INPUT_SHARE * share, out=pixels)
        near = self._once(self._nearer_restorer, image, size, near_request, times, on_progress)
        return mixed(pixels, near, share, out=pixels)

    def _nearer(self, request: Request) -> Request:
        """What the restoration nearer to the input is asked for."""
        if self.model.nearer is None:
            return replace(request, coeff_timestep=round(FIDELITY_SHARE * request.coeff_timestep))
        traits = self.model.nearer.backbone.traits
        return replace(request, timestep=traits.timestep, coeff_timestep=traits.coeff_timestep)

    def _once(
        self,
        restorer: Restorer,
        image: ImageData,
        size: tuple[int, int],
        request: Request,
        times: StageTimes,
        on_progress: Progress | None,
    ) -> Pixels:
        if self.config.tiles.parity:
            return self._parity(restorer.backbone, image, size, request)
        return restorer.restore(
            image.pixels, request=request, out_size=size, times=times, on_progress=on_progress
        )

    def _parity(
        self, backbone: Backbone, image: ImageData, size: tuple[int, int], request: Request
    ) -> Pixels:
        """The reference's whole-canvas tiling; needs memory for the whole image in float."""
        whole = InputWindows(image.pixels, out_size=(image.height, image.width))
        try:
            restored = restore_parity(
                backbone,
                whole.window((0, image.height), (0, image.width)),
                prompt=request.prompt,
                tiles=_parity_tiles(self.config.tiles.size),
                upscale=self._parity_scale(image, size),
                posterior_seed=request.seed if request.posterior == "sample" else None,
                timestep=request.timestep,
                coeff_timestep=request.coeff_timestep,
                color_fix=request.color_fix,
            )
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise _does_not_fit(image) from error
            raise
        if not torch.isfinite(restored).all():
            raise DeviceError(
                f"the networks overflow in {dtype_name(backbone.dtype)}.",
                hint="use --dtype bf16 or fp32, or leave --parity out, which then computes again",
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
            generativity_where=control.generativity_where,
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


def _does_not_fit(image: ImageData) -> DeviceError:
    return DeviceError(
        f"out of memory: --parity holds the whole image ({image.width}x{image.height}) in float.",
        hint="leave --parity out: then any size fits",
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
