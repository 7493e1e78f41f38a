"""Settings of `hypir restore`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypir_cli.config.checks import check_device, check_suffix, check_within
from hypir_cli.config.flags import flag, group
from hypir_cli.config.scale import ClusterConfig
from hypir_cli.config.timesteps import check_timestep

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str) -> int:
    """Bytes of a size such as `6GB`, `800M` or `123456`; units are powers of 1024.

    Raises:
        ValueError: Not a positive size.
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)I?B?\s*", text.upper())
    try:
        size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    except ValueError:
        size = 0
    if size <= 0:
        raise ValueError(f"a memory size looks like 6GB or 800MB, got {text!r}")
    return size


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which networks restore."""

    backbone: str = flag("tiny", "--backbone")
    """Diffusion model: tiny (embedded, no download) or another that `hypir info` lists."""
    base: str | None = flag(None, "--base", metavar="PATH_OR_HUB_ID")
    """Base weights: a diffusers-layout folder or a hub id; unset takes the backbone's own."""
    revision: str | None = flag(None, "--revision")
    """Hub revision (branch, tag or commit) of the base weights."""
    lora: str | None = flag(None, "--lora", metavar="PATH_OR_HUB_FILE")
    """Restoration LoRA: a file, or `owner/repository:file` on the hub; unset takes the backbone's own."""
    lora_scale: float = flag(1.0, "--lora-scale")
    """Strength of the LoRA; 1 is as trained, 0 is off."""
    lora_fidelity: str | None = flag(None, "--lora-fidelity", metavar="PATH_OR_HUB_FILE")
    """Second LoRA, nearer to the input, that control.fidelity mixes in; a file or `owner/repository:file`. Takes the memory of a second
    model."""
    merge_lora: bool = flag(True, "--merge-lora/--keep-lora-apart")
    """Add the LoRA into the base weights at load, which makes every call faster."""
    vae: str = flag("default", "--vae", metavar="default|small|PATH|HUB_ID")
    """VAE: default (the base's own), small (one with a fraction of the arithmetic), or a diffusers folder or hub id."""
    encoder: Path | None = flag(None, "--encoder")
    """Fine-tuned VAE encoder (safetensors from `hypir train-encoder`)."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.lora_scale):
            raise ValueError(f"model.lora_scale must be a finite number, got {self.lora_scale}")


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Where each image's prompt comes from."""

    text: str = flag("", "--prompt", metavar="TEXT")
    """Prompt for every image without one of its own."""
    dir: Path | None = flag(None, "--prompt-dir", metavar="DIR")
    """Folder with the same tree as the input and one .txt per image."""
    caption: Literal["none", "sidecar", "llava", "blip", "openai"] = flag("none", "--caption")
    """Prompts from a .txt beside each image, or from a captioning model."""


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """What the user steers."""

    texture: float | Literal["auto"] | None = flag("auto", "--texture", metavar="NUMBER|auto")
    """Texture richness to aim for: variance of the Laplacian, about 500 smooth, 3000 rich; auto predicts it where the checkpoint
    can."""
    texture_gain: float = flag(8.0, "--texture-gain")
    """Most by which fine detail that is neither edge nor noise is amplified (or all of it softened) after the model, so that the
    result reaches the texture; 1 leaves it to the model."""
    strength: float = flag(1.0, "--strength")
    """How much of the result is taken, 1 (all) to 0 (the enlarged input), in even steps."""
    fidelity: float = flag(0.0, "--fidelity")
    """Share of a second restoration, nearer to the input, that is mixed into the result, 0 to 1; it takes a second pass, from
    model.lora_fidelity or with a quarter of the coefficient timestep. The embedded model's is half its result, half the enlarged input."""
    generativity: float = flag(0.0, "--generativity")
    """Share of noise mixed into the latent, 0 (faithful) to 1 (invents)."""
    generativity_where: Literal["everywhere", "detail"] = flag("everywhere", "--generativity-where")
    """Where the noise goes: everywhere alike, or by the local gradient, so that flat areas get little."""
    seed: int = flag(231, "--seed")
    """Seed of all noise; sample k of an image uses seed + k."""
    samples: int = flag(1, "--samples")
    """Restorations per image, saved as NAME-1, NAME-2..."""
    posterior: Literal["mean", "sample"] = flag("mean", "--posterior")
    """Mean of the VAE posterior (deterministic), or a sample of it as the reference does."""
    timestep: int | None = flag(None, "--timestep")
    """Timestep into the denoiser, 0 to 999; unset takes the checkpoint's or the backbone's."""
    coeff_timestep: int | None = flag(None, "--coeff-timestep")
    """Fidelity dial, 0 to 999: timestep of the clean-latent formula; smaller keeps more of the input, except
    with the embedded model."""

    def __post_init__(self) -> None:
        check_within(self, "control", ("strength", "fidelity", "generativity"), least=0, most=1)
        if isinstance(self.texture, float) and not 0.0 < self.texture < math.inf:
            raise ValueError(f"control.texture must be above 0, got {self.texture}")
        check_within(self, "control", ("texture_gain", "samples"), least=1)
        check_timestep("control.timestep", self.timestep)
        check_timestep("control.coeff_timestep", self.coeff_timestep)


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """Size of the result; at most one of the four is set, none keeps the input's size."""

    scale: float | None = flag(None, "--scale")
    """Result side / input side; unset is 1."""
    long_side: int | None = flag(None, "--long-side", metavar="PX")
    """Length of the result's longer side in pixels."""
    short_side: int | None = flag(None, "--short-side", metavar="PX")
    """Length of the result's shorter side in pixels."""
    megapixels: float | None = flag(None, "--megapixels")
    """Area of the result in millions of pixels."""

    def __post_init__(self) -> None:
        names = ("scale", "long_side", "short_side", "megapixels")
        values = {name: getattr(self, name) for name in names}
        chosen = {name: value for name, value in values.items() if value is not None}
        if len(chosen) > 1:
            raise ValueError(f"choose one of {', '.join(f'size.{name}' for name in chosen)}")
        for name, value in chosen.items():
            if not 0 < value < math.inf:
                raise ValueError(f"size.{name} must be above 0, got {value}")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result for an input of that size, at least 1x1."""
        if self.long_side is not None:
            ratio = self.long_side / max(height, width)
        elif self.short_side is not None:
            ratio = self.short_side / min(height, width)
        elif self.megapixels is not None:
            ratio = math.sqrt(self.megapixels * 1e6 / (height * width))
        else:
            ratio = self.scale or 1.0
        return max(1, round(height * ratio)), max(1, round(width * ratio))


@dataclass(frozen=True, kw_only=True)
class TileConfig:
    """How large images are cut."""

    size: int | None = flag(None, "--tile", metavar="PX")
    """Largest tile side in image pixels; unset chooses from the backbone, the image and free memory."""
    overlap: int | None = flag(None, "--overlap", metavar="PX")
    """Least overlap of neighbouring tiles in image pixels; unset is 64, or a quarter of a smaller tile."""
    batch: int | None = flag(None, "--tile-batch")
    """Tiles per network call; unset takes one on a CPU and what the device's memory holds elsewhere."""
    max_memory: str | None = flag(None, "--max-memory", metavar="SIZE")
    """Memory to stay under, e.g. 6GB; unset takes what is free."""
    parity: bool = flag(False, "--parity/--no-parity")
    """The reference's own tiling, colour fix and blending instead of ours: slower, more memory."""

    def __post_init__(self) -> None:
        check_within(self, "tiles", ("size",), least=16)
        if self.overlap is not None and self.overlap < 0:
            raise ValueError(f"tiles.overlap must not be negative, got {self.overlap}")
        if self.size is not None and (self.overlap or 0) > self.size // 2:
            raise ValueError(
                f"tiles.overlap must be at most half of tiles.size ({self.size // 2}), "
                f"got {self.overlap}"
            )
        check_within(self, "tiles", ("batch",), least=1)
        if self.max_memory is not None:
            parse_bytes(self.max_memory)


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and how the networks run."""

    device: str = flag("auto", "--device")
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = flag("auto", "--dtype")
    """Number format of the networks; auto takes bf16 where the processor multiplies in it, the same on one machine always."""
    compile: bool = flag(False, "--compile/--no-compile")
    """torch.compile the denoiser's repeated blocks and the VAE: a wait at the start, faster on large sets."""
    offload: Literal["none", "model", "sequential"] = flag("none", "--offload")
    """Keep networks in CPU memory and move each to the device when used."""
    quantize: Literal["none", "int8", "fp8", "nf4"] = flag("none", "--quantize")
    """Number format of the denoiser's stored weights; int8 on a CPU also computes in 8 bits, where a calibration picture allows it."""
    calibrate_on: Path | None = flag(None, "--calibrate-on", metavar="PICTURE")
    """Your picture that shows which layers bear 8 bits on a CPU; without it one of the package does, the same for all runs."""
    jobs: int = flag(2, "--jobs")
    """Images read and written ahead of and behind the computing."""

    def __post_init__(self) -> None:
        check_device("runtime.device", self.device)
        check_within(self, "runtime", ("jobs",), least=1)


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How files are read."""

    partial: bool = flag(False, "--partial/--no-partial")
    """Restore what is there of a picture whose data is cut short or damaged; what is missing is grey or black."""
    float_range: tuple[float, float] | None = flag(None, "--float-range", metavar="BLACK,WHITE")
    """What is black and white in files of float samples, e.g. 0,255; unset is 0,1. What lies outside is clipped."""

    def __post_init__(self) -> None:
        if self.float_range is not None:
            black, white = self.float_range
            if not (math.isfinite(black) and math.isfinite(white) and black < white):
                raise ValueError(
                    f"input.float_range must be two rising numbers, got {black:g},{white:g}"
                )


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is written."""

    format: Literal["same", "png", "jpg", "webp", "tiff", "avif"] = flag("same", "--format")
    """File format of the results."""
    quality: int | None = flag(None, "--quality")
    """Quality of lossy formats, 1 to 100; unset takes the format's good default."""
    suffix: str = flag("", "--suffix")
    """Text added to each result's name before its extension."""
    existing: Literal["skip", "overwrite", "error"] = flag("skip", "--existing")
    """What to do with results that are there: skip makes an interrupted run resume."""
    metadata: Literal["keep", "strip"] = flag("keep", "--metadata")
    """Keep EXIF, XMP and resolution, or drop them; the colour profile always stays."""
    compare: Literal["side", "html", "none"] = flag("none", "--compare")
    """Also write each input beside its result (side), or one page with sliders (html)."""
    report: Path | None = flag(None, "--report", metavar="FILE.json")
    """JSON file with what was done to each image."""

    def __post_init__(self) -> None:
        check_within(self, "output", ("quality",), least=1, most=100)
        check_suffix("output.suffix", self.suffix)


@dataclass(frozen=True, kw_only=True)
class RestoreConfig:
    """All settings of `hypir restore`."""

    model: ModelConfig = group(ModelConfig, "Model")
    """Networks."""
    prompt: PromptConfig = group(PromptConfig, "Prompt")
    """Prompts."""
    control: ControlConfig = group(ControlConfig, "Control")
    """Controls."""
    size: SizeConfig = group(SizeConfig, "Size")
    """Size of the results."""
    tiles: TileConfig = group(TileConfig, "Tiles")
    """Tiles."""
    color_fix: Literal["wavelet", "adain", "none"] = flag("wavelet", "--color-fix", panel="Colour")
    """Take the low frequencies (wavelet) or the mean and spread (adain) of colour from the input."""
    runtime: RuntimeConfig = group(RuntimeConfig, "Runtime")
    """Device and number format."""
    input: InputConfig = group(InputConfig, "Input")
    """Files read."""
    output: OutputConfig = group(OutputConfig, "Output")
    """Files written."""
    cluster: ClusterConfig = group(ClusterConfig, "Many machines")
    """Who works through a manifest."""
