"""Draw the parameters of one sample from its key; nothing here touches pixels.

Each step draws from a stream of its own, so changing the settings of one step leaves the draws of the others as they were.
"""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from hypir_cli.config.degradation import (
    AgeingConfig,
    BlurConfig,
    DegradationConfig,
    FirstOrderConfig,
    JpegConfig,
    NoiseConfig,
    OversharpenConfig,
    Range,
    ResizeConfig,
    SecondOrderConfig,
)
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.degradation.filtering import ResizeMode
from hypir_cli.train.degradation.kernels import KernelKind
from hypir_cli.train.degradation.parameters import (
    AgeingParameters,
    DegradationParameters,
    JpegParameters,
    KernelParameters,
    MarkParameters,
    NoiseParameters,
    OversharpenParameters,
    ResizeParameters,
    RoundParameters,
)

_MAX_SEED = 2**63 - 1
_RESIZE_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)
# Dyes of old prints: what is left is mostly yellow, red and magenta; cyan and blue are rarer.
_DYES = (
    (1.0, 0.86, 0.55),
    (1.0, 0.75, 0.62),
    (1.0, 0.72, 0.85),
    (0.7, 0.95, 1.0),
    (0.72, 0.8, 1.0),
)
_DYE_CHANCES = (0.4, 0.25, 0.15, 0.12, 0.08)


def draw_parameters(
    config: DegradationConfig, *, seed: int, rank: int, index: int
) -> DegradationParameters:
    """The parameters of the sample (seed, rank, index) under `config`.

    Raises:
        ValueError: A negative seed, rank or index.
    """
    key = SampleKey(seed, rank, index)
    last = key.generator("final")
    second = config.second
    return DegradationParameters(
        scale=config.scale,
        ageing=_draw_ageing(key.generator("ageing"), config.ageing),
        first=_draw_round(key, config.first, name="first"),
        second=_draw_round(key, second, name="second"),
        jpeg_last=bool(last.random() < 0.5),
        final_mode=_RESIZE_MODES[last.integers(len(_RESIZE_MODES))],
        final_sinc=_draw_final_sinc(last, second),
        oversharpen=_draw_oversharpen(key.generator("oversharpen"), config.oversharpen),
    )


def _draw_oversharpen(
    rng: np.random.Generator, config: OversharpenConfig
) -> OversharpenParameters | None:
    if rng.random() >= config.probability:
        return None
    return OversharpenParameters(
        amount=_uniform(rng, config.amount), sigma=_uniform(rng, config.sigma)
    )


def _draw_round(
    key: SampleKey, config: FirstOrderConfig | SecondOrderConfig, *, name: str
) -> RoundParameters:
    return RoundParameters(
        blur=_draw_blur(key.generator(f"{name} blur"), config.blur),
        resize=_draw_resize(key.generator(f"{name} resize"), config.resize),
        noise=_draw_noise(key.generator(f"{name} noise"), config.noise),
        jpeg=_draw_jpeg(key.generator(f"{name} jpeg"), config.jpeg),
    )


def _draw_blur(rng: np.random.Generator, config: BlurConfig) -> KernelParameters | None:
    if rng.random() >= config.probability:
        return None
    size = int(rng.choice(config.sizes))
    if rng.random() < config.sinc_probability:
        # Small kernels cannot hold the long waves of a low cut-off.
        lowest = math.pi / 3 if size < 13 else math.pi / 5
        return KernelParameters(kind="sinc", size=size, cutoff=_uniform(rng, (lowest, math.pi)))
    kind = _draw_kind(rng, config)
    sigma_x = _uniform(rng, config.sigma)
    stretched = kind.endswith("aniso")
    return KernelParameters(
        kind=kind,
        size=size,
        sigma_x=sigma_x,
        sigma_y=_uniform(rng, config.sigma) if stretched else sigma_x,
        rotation=_uniform(rng, (-math.pi, math.pi)) if stretched else 0.0,
        beta=_draw_beta(rng, kind, config),
    )


def _draw_kind(rng: np.random.Generator, config: BlurConfig) -> KernelKind:
    shares = vars(config.kinds)
    kinds: list[KernelKind] = [kind for kind in get_args(KernelKind) if kind in shares]
    weights = np.array([shares[kind] for kind in kinds])
    return kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]


def _draw_beta(rng: np.random.Generator, kind: KernelKind, config: BlurConfig) -> float:
    if kind in ("iso", "aniso"):
        return 1.0
    low, high = config.betag if kind.startswith("generalized") else config.betap
    return _uniform(rng, (low, 1.0) if rng.random() < 0.5 else (1.0, high))


def _draw_resize(rng: np.random.Generator, config: ResizeConfig) -> ResizeParameters:
    chances = np.array([config.up, config.down, config.keep])
    low, high = config.factors
    bounds = ((1.0, high), (low, 1.0), (1.0, 1.0))[int(rng.choice(3, p=chances / chances.sum()))]
    factor = _uniform(rng, bounds)
    return ResizeParameters(factor=factor, mode=config.modes[rng.integers(len(config.modes))])


def _draw_noise(rng: np.random.Generator, config: NoiseConfig) -> NoiseParameters | None:
    if rng.random() >= config.probability:
        return None
    gaussian = bool(rng.random() < config.gaussian_probability)
    return NoiseParameters(
        gaussian=gaussian,
        strength=_uniform(rng, config.gaussian_sigma if gaussian else config.poisson_scale),
        gray=bool(rng.random() < config.gray_probability),
        seed=_draw_seed(rng),
    )


def _draw_jpeg(rng: np.random.Generator, config: JpegConfig) -> JpegParameters | None:
    if rng.random() >= config.probability:
        return None
    return JpegParameters(quality=_uniform(rng, config.quality), coder=config.coder)


def _draw_final_sinc(
    rng: np.random.Generator, config: SecondOrderConfig
) -> KernelParameters | None:
    if rng.random() >= config.final_sinc_probability:
        return None
    size = int(rng.choice(config.final_sinc_sizes))
    cutoff = _uniform(rng, (math.pi / 3, math.pi))
    return KernelParameters(kind="sinc", size=size, cutoff=cutoff)


def _draw_ageing(rng: np.random.Generator, config: AgeingConfig) -> AgeingParameters | None:
    if rng.random() >= config.probability:
        return None
    return AgeingParameters(
        lens_sigma=_uniform(rng, config.lens_sigma),
        black_lift=_uniform(rng, config.black_lift),
        white_loss=_uniform(rng, config.white_loss),
        gamma=_uniform(rng, config.gamma),
        saturation=_uniform(rng, config.saturation),
        cast=_uniform(rng, config.cast),
        dye=_DYES[int(rng.choice(len(_DYES), p=_DYE_CHANCES))],
        grain=_uniform(rng, config.grain),
        grain_size=_uniform(rng, config.grain_size),
        grain_seed=_draw_seed(rng),
        vignette=_uniform(rng, config.vignette),
        marks=_draw_marks(rng, config),
    )


def _draw_marks(rng: np.random.Generator, config: AgeingConfig) -> tuple[MarkParameters, ...]:
    scratches = [_draw_scratch(rng) for _ in range(int(rng.integers(config.max_scratches + 1)))]
    specks = [_draw_speck(rng) for _ in range(int(rng.integers(config.max_dust + 1)))]
    return (*scratches, *specks)


def _draw_scratch(rng: np.random.Generator) -> MarkParameters:
    start = (float(rng.random()), float(rng.random()))
    angle, length = _uniform(rng, (0.0, 2 * math.pi)), _uniform(rng, (0.1, 0.8))
    return MarkParameters(
        start=start,
        end=(start[0] + length * math.cos(angle), start[1] + length * math.sin(angle)),
        radius=_uniform(rng, (0.3, 1.2)),
        opacity=_uniform(rng, (0.2, 0.8)),
        level=_uniform(rng, (0.8, 1.0)),
    )


def _draw_speck(rng: np.random.Generator) -> MarkParameters:
    place = (float(rng.random()), float(rng.random()))
    # Dust on the print is dark; dust on the negative prints as white.
    level = (0.1, 0.3) if rng.random() < 0.5 else (0.85, 1.0)
    return MarkParameters(
        start=place,
        end=place,
        radius=_uniform(rng, (0.5, 2.5)),
        opacity=_uniform(rng, (0.3, 0.9)),
        level=_uniform(rng, level),
    )


def _uniform(rng: np.random.Generator, bounds: Range) -> float:
    return float(rng.uniform(*bounds))


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(_MAX_SEED))
