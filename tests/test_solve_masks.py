"""Holes: what they are filled with before and while a prior works on them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hypir_cli.config.solve import (
    DamageConfig,
    DpsConfig,
    LatinoConfig,
    SamplingConfig,
    SolveConfig,
    SpgdConfig,
)
from hypir_cli.solvers import solver
from hypir_cli.solvers.operators import Grey, HasGuess, Inpainting, box_kept, random_kept
from hypir_cli.solvers.prior_loading import LoadedPrior
from hypir_cli.solvers.priors.base import linear_alphas_cumprod
from hypir_cli.solvers.recipes import recipe
from hypir_cli.solvers.samplers.latino import sample_latino
from hypir_cli.solvers.samplers.measurement import Measurement, Problem

SIDE = 24


def ramp() -> Tensor:
    """Brightness that grows evenly to the right, redder downwards, (1, 3, SIDE, SIDE)."""
    across = torch.linspace(-0.8, 0.8, SIDE, dtype=torch.float64)
    flat = torch.full((SIDE, SIDE), 0.25, dtype=torch.float64)
    return torch.stack([across.expand(SIDE, -1), across[:, None].expand(-1, SIDE), flat])[None]


class Silence:
    """Noise that is not there."""

    def normal(self, purpose: str) -> Tensor:
        return torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64)


class FaultyPrior:
    """Pixels as they are, but for an encoder that takes contrast away and a denoiser that brightens."""

    clips = False
    multiple = 1
    sigma_max = 100.0
    alphas_cumprod = linear_alphas_cumprod()

    def __init__(self, *, contrast: float = 1.0, added: float = 0.0) -> None:
        self._contrast = contrast
        self._added = added

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        return x + self._added

    def encode(self, images: Tensor) -> Tensor:
        return self._contrast * images

    def decode(self, x: Tensor) -> Tensor:
        return x

    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return 3, height, width


class Masked:
    """Inpainting by its proximal step alone."""

    def __init__(self, inner: Inpainting) -> None:
        self.A, self.A_dagger, self.prox_l2 = inner.A, inner.A_dagger, inner.prox_l2


def latino(operator: object, *, prior: FaultyPrior, steps: int = 10) -> Tensor:
    measurement = Measurement(
        y=operator.A(ramp()),  # type: ignore[attr-defined]
        operator=operator,  # type: ignore[arg-type]
        noise=0.01,
        size=(SIDE, SIDE),
    )
    return sample_latino(
        Problem(prior=prior, measurement=measurement, noise=Silence()),
        settings=LatinoConfig(),
        start=1.0,
        steps=steps,
    ).images


class TestFill:
    @pytest.mark.parametrize(
        "kept", [box_kept(SIDE, SIDE, side=10), random_kept(SIDE, SIDE, dropped=0.4, seed=1)]
    )
    def test_an_even_slope_is_continued_and_what_is_known_stays(self, kept: Tensor) -> None:
        kept[..., 0, :], kept[..., -1, :], kept[..., 0], kept[..., -1] = (True,) * 4
        operator = Inpainting(kept)
        filled = operator.first_guess(operator.A(ramp()))
        assert torch.equal(operator.A(filled), operator.A(ramp()))
        assert torch.allclose(filled, ramp(), atol=0.02)

    def test_one_known_pixel_colours_all_and_none_leaves_grey(self) -> None:
        for count in (0, 1):
            kept = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
            kept.view(-1)[:count] = True
            operator = Inpainting(kept)
            filled = operator.first_guess(operator.A(torch.full_like(ramp(), 0.5)))
            assert torch.allclose(filled, torch.full_like(filled, 0.5 * count), atol=0.02)

    def test_samplers_start_from_it(self) -> None:
        operator = Inpainting(box_kept(SIDE, SIDE, side=10))
        assert isinstance(operator, HasGuess)
        measurement = Measurement(
            y=operator.A(ramp()), operator=operator, noise=0.01, size=(SIDE, SIDE)
        )
        assert torch.equal(measurement.first_image(), operator.first_guess(measurement.y))


class TestFaults:
    def test_the_encoder_s_losses_do_not_add_up_over_the_levels(self) -> None:
        operator = Masked(Inpainting(torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)))
        prior = FaultyPrior(contrast=0.9)
        hole = Masked(Inpainting(box_kept(SIDE, SIDE, side=10)))
        hole.A_dagger = lambda y: ramp()  # type: ignore[method-assign]
        inside = (..., slice(8, 16), slice(8, 16))
        found = latino(hole, prior=prior)
        assert torch.allclose(found[inside], 0.9 * ramp()[inside], atol=1e-6)
        assert torch.allclose(latino(operator, prior=prior), ramp(), atol=0.1)

    def test_a_prior_that_brightens_leaves_no_step_at_the_edge_of_a_hole(self) -> None:
        inner = Inpainting(box_kept(SIDE, SIDE, side=10))
        smooth = latino(inner, prior=FaultyPrior(added=0.3))
        stepped = latino(Masked(inner), prior=FaultyPrior(added=0.3))
        inside = (..., slice(7, 17), slice(7, 17))
        assert (smooth - ramp())[inside].abs().max() < 0.05
        assert (stepped - ramp())[inside].abs().max() > 0.25


class TestRecipes:
    def test_latents_start_lower_than_pixels_and_the_user_has_the_last_word(self) -> None:
        damage = DamageConfig(drop=0.8)
        latent, pixel = (
            recipe(SamplingConfig(), damage, prior=kind) for kind in ("latent", "pixel")
        )
        assert latent.sigma_max < 1.0 < pixel.sigma_max == 100.0
        asked = SamplingConfig(spgd=SpgdConfig(sigma_max=7.0))
        assert recipe(asked, damage, prior="latent").sigma_max == 7.0

    def test_jpeg_measures_all_pixels_so_its_steps_are_those_of_blurs(self) -> None:
        jpeg, blur = (
            recipe(SamplingConfig(method="spgd"), DamageConfig(task=task), prior="latent")
            for task in ("jpeg", "gaussian-blur")
        )
        assert jpeg.lr == blur.lr

    def test_the_step_along_a_norm_grows_with_the_tile(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scales = []

        def sampled(*_: object, scale: float, **__: object) -> None:
            scales.append(scale)

        monkeypatch.setattr(solver, "sample_dps", sampled)
        config = SolveConfig(
            damage=DamageConfig(task="colorize"),
            sampling=SamplingConfig(method="dps", dps=DpsConfig(scale=2.0)),
        )
        prior = LoadedPrior(
            prior=FaultyPrior(),
            kind="pixel",
            name="",
            native_side=256,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        for side in (256, 512):
            grey = Grey()
            measurement = Measurement(
                y=torch.zeros(1, 1, side, side), operator=grey, noise=0.01, size=(side, side)
            )
            solver.Solver(prior, config=config).sample(
                Problem(prior=FaultyPrior(), measurement=measurement, noise=Silence())
            )
        assert scales == [2.0, 4.0]
