"""Clean-latent formulas: against the reference's numbers, diffusers' scheduler, and themselves."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from hypir_cli.errors import BackboneError
from hypir_cli.models import prediction
from hypir_cli.models.backbones.schedule import alphas_cumprod, prediction_kind
from tests import golden

SD2 = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def pair(seed=0):
    return torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).unbind()


def test_the_schedule_is_the_references():
    values = golden.tensors("ops/x0")["alphas_cumprod"]
    assert torch.allclose(alphas_cumprod(SD2).float(), values, rtol=2e-5, atol=0)
    assert float(alphas_cumprod(SD2)[200]) == pytest.approx(0.7536917329, abs=1e-6)


@pytest.mark.parametrize("timestep", [0, 1, 100, 200, 500, 999])
def test_the_clean_latent_is_the_references_and_never_clipped(timestep):
    vectors = golden.tensors("ops/x0")
    clean = prediction.z0_from_eps(
        vectors["z_scaled"], vectors["eps"], alpha_cumprod=alphas_cumprod(SD2)[timestep]
    )
    expected = vectors[f"x0_t{timestep}"]
    assert golden.distance(clean, expected) < 2e-5 * max(1.0, float(expected.abs().max()))
    if timestep == 200:
        assert not torch.allclose(clean, vectors["x0_t200_clip_sample_true"])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("schedule", ["scaled_linear", "linear"])
def test_formulas_and_schedules_agree_with_the_diffusers_scheduler(kind, rescale, schedule):
    scheduler = DDPMScheduler(
        prediction_type=kind,
        clip_sample=False,
        rescale_betas_zero_snr=rescale,
        beta_schedule=schedule,
        beta_start=0.00085,
        beta_end=0.012,
    )
    values = alphas_cumprod(scheduler.config)
    assert prediction_kind(scheduler.config) == kind
    formula = prediction.z0_from_eps if kind == "epsilon" else prediction.z0_from_v
    latents, output = pair()
    for timestep in (1, 200, 900):
        expected = scheduler.step(output, timestep, latents).pred_original_sample
        clean = formula(latents, output, alpha_cumprod=values[timestep])
        assert golden.distance(clean, expected) < 1e-5 * max(1.0, float(expected.abs().max()))


def test_given_betas_beat_the_named_schedule():
    values = alphas_cumprod({"trained_betas": [0.1, 0.5]})
    assert values.tolist() == pytest.approx([0.9, 0.45])


def test_an_unknown_schedule_or_prediction_is_an_error_that_names_it():
    with pytest.raises(BackboneError, match="sigmoid"):
        alphas_cumprod({"beta_schedule": "sigmoid"})
    with pytest.raises(BackboneError, match="sample"):
        prediction_kind({"prediction_type": "sample"})


@pytest.mark.parametrize("level", [0.01, 0.5, 0.99])
def test_noise_then_the_true_prediction_gives_the_clean_latent(level):
    clean, noise = pair()
    alpha = torch.tensor(level)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    found = {
        "eps": prediction.z0_from_eps(noisy, noise, alpha_cumprod=alpha),
        "v": prediction.z0_from_v(noisy, velocity, alpha_cumprod=alpha),
        "flow": prediction.z0_from_flow(
            (1 - alpha) * clean + alpha * noise, noise - clean, sigma=alpha
        ),
    }
    for name, value in found.items():
        assert golden.distance(value, clean) < 1e-4, name


def test_each_image_of_a_batch_may_have_its_own_level():
    latents, output = pair()
    levels = torch.tensor([0.3, 0.8]).reshape(-1, 1, 1, 1)
    together = prediction.z0_from_eps(latents, output, alpha_cumprod=levels)
    for row in range(2):
        alone = prediction.z0_from_eps(
            latents[row], output[row], alpha_cumprod=levels[row].reshape(())
        )
        assert torch.equal(together[row], alone)
