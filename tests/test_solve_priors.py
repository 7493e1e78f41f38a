"""Priors: every backbone and both kinds of pixel networks say the clean sample that their own schedule says."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline, DDPMScheduler, UNet2DModel

from hypir_cli.config.restore import RuntimeConfig
from hypir_cli.config.solve import DpsConfig, LatinoConfig, PriorConfig, SpgdConfig
from hypir_cli.errors import BackboneError
from hypir_cli.images import read_image, to_float
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.pixel_unet import load_pixel_unet
from hypir_cli.solvers.operators import Downsampling, Inpainting, random_kept
from hypir_cli.solvers.prior_loading import load_prior
from hypir_cli.solvers.priors.base import LearnedVariance, Prior
from hypir_cli.solvers.priors.gaussian import GaussianPrior
from hypir_cli.solvers.priors.latent import LatentPrior
from hypir_cli.solvers.priors.pixel import pixel_prior
from hypir_cli.solvers.samplers.dps import sample_dps
from hypir_cli.solvers.samplers.latino import sample_latino
from hypir_cli.solvers.samplers.measurement import Measurement, Problem
from hypir_cli.solvers.samplers.noise import PlacedNoise
from hypir_cli.solvers.samplers.spgd import sample_spgd
from tests.builders import BUILDERS, load_built, save_sd2
from tests.pictures import PHOTOS
from tests.tiny_families import seeded

SIDE = 32


def latent_prior(backbone: Backbone) -> LatentPrior:
    return LatentPrior(backbone, backbone.encode_prompts(["a picture"]))


def noise_like(prior: Prior, *, batch: int = 1, side: int = SIDE) -> torch.Tensor:
    shape = prior.sample_shape(side, side)
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", BUILDERS)
def test_a_backbone_says_the_clean_latent_of_its_own_formula(name: str, tmp_path: Path) -> None:
    backbone = load_built(name, BUILDERS[name](tmp_path))
    prior, timestep = latent_prior(backbone), torch.tensor(300)
    side = 2 * prior.multiple
    mixed = noise_like(prior, side=side)
    level = float(backbone.alpha_or_sigma(timestep).double())
    if backbone.traits.prediction == "flow":
        sigma, scale = level / (1.0 - level), 1.0 - level
    else:
        sigma, scale = math.sqrt((1.0 - level) / level), math.sqrt(level)
    prompt = backbone.encode_prompts(["a picture"])
    with torch.no_grad():
        output = backbone.denoise(mixed, prompt=prompt, timestep=timestep)
        expected = backbone.predict_clean(mixed, output, timestep=timestep)
        found = prior.denoise(mixed / scale, sigma)
    assert torch.allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_measurement_s_gradient_reaches_the_latent_through_decoder_and_denoiser(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    prior = latent_prior(load_built(name, BUILDERS[name](tmp_path), dtype=dtype))
    side = 2 * prior.multiple
    x = noise_like(prior, side=side).requires_grad_(True)
    images = prior.decode(prior.denoise(x, 2.0))
    assert images.shape == (1, 3, side, side)
    assert images.dtype == torch.float32
    (gradient,) = torch.autograd.grad(images.square().sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
    assert prior.encode(images.detach()).shape == x.shape


@pytest.mark.parametrize("name", BUILDERS)
def test_in_the_strongest_noise_nothing_overflows(name: str, tmp_path: Path) -> None:
    prior = latent_prior(load_built(name, BUILDERS[name](tmp_path)))
    x = prior.sigma_max * noise_like(prior, side=2 * prior.multiple)
    with torch.no_grad():
        assert torch.isfinite(prior.denoise(x, prior.sigma_max)).all()


def test_a_schedule_that_ends_in_pure_noise_has_a_last_level(tmp_path: Path) -> None:
    save_sd2(tmp_path, prediction_type="v_prediction")
    path = tmp_path / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "rescale_betas_zero_snr": True}), encoding="utf-8")
    prior = latent_prior(load_built("sd2", tmp_path))
    assert prior.sigma_max == pytest.approx(316.2, rel=1e-3)
    with torch.no_grad():
        assert torch.isfinite(prior.denoise(noise_like(prior), prior.sigma_max)).all()


def unet(*, adm: bool) -> UNet2DModel:
    """A tiny random network with DDPM's or ADM's blocks."""
    more = {"resnet_time_scale_shift": "scale_shift", "attention_head_dim": 4} if adm else {}
    blocks = ("ResnetDownsampleBlock2D", "AttnDownBlock2D") if adm else ("DownBlock2D",) * 2
    ups = ("AttnUpBlock2D", "ResnetUpsampleBlock2D") if adm else ("UpBlock2D",) * 2
    with seeded(0):
        return UNet2DModel(
            sample_size=SIDE,
            out_channels=6 if adm else 3,
            block_out_channels=(8, 16),
            down_block_types=blocks,
            up_block_types=ups,
            layers_per_block=1,
            norm_num_groups=4,
            **more,
        )


def scheduler() -> DDPMScheduler:
    return DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False)


def save_pixel(folder: Path, *, adm: bool = False, bare: bool = False) -> Path:
    """A pixel model in the pipeline's layout or with everything in one folder."""
    if bare:
        unet(adm=adm).save_pretrained(folder)
        scheduler().save_pretrained(folder)
    else:
        DDIMPipeline(unet=unet(adm=adm), scheduler=scheduler()).save_pretrained(folder)
        scheduler().save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.parametrize("adm", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_a_pixel_network_says_what_its_scheduler_says(
    adm: bool, bare: bool, tmp_path: Path
) -> None:
    prior = pixel_prior(load_pixel_unet(save_pixel(tmp_path, adm=adm, bare=bare)))
    assert isinstance(prior, LearnedVariance) is adm
    alpha = float(prior.alphas_cumprod[400])
    mixed = noise_like(prior)
    with torch.no_grad():
        found = prior.denoise(mixed / math.sqrt(alpha), math.sqrt((1 - alpha) / alpha))
        eps = unet(adm=adm)(mixed, 400).sample[:, :3]
    expected = scheduler().step(eps, 400, mixed).pred_original_sample
    assert torch.allclose(found, expected, atol=1e-3)


# How each method samples, and how many calls of the network that takes.
METHODS = {
    "dps": (partial(sample_dps, settings=DpsConfig(), scale=0.1, steps=3, select=False), 3),
    "dpps": (
        partial(sample_dps, settings=DpsConfig(candidates=3), scale=0.1, steps=3, select=True),
        3,
    ),
    "spgd": (partial(sample_spgd, settings=SpgdConfig(), lr=0.1, steps=2), 12),
    "latino": (partial(sample_latino, settings=LatinoConfig(), start=1.0, steps=3), 3),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["ddpm", "adm", "tiny", "sd2"])
def test_every_method_runs_on_every_kind_of_prior(
    method: str, dtype: torch.dtype, kind: str, tmp_path: Path
) -> None:
    prior: Prior
    if kind in BUILDERS:
        prior = latent_prior(load_built(kind, BUILDERS[kind](tmp_path), dtype=dtype))
    else:
        prior = pixel_prior(load_pixel_unet(save_pixel(tmp_path, adm=kind == "adm"), dtype=dtype))
    operator = Downsampling(4)
    measurement = Measurement(
        y=torch.zeros(1, 3, SIDE // 4, SIDE // 4), operator=operator, noise=0.01, size=(SIDE, SIDE)
    )
    noise = PlacedNoise(prior.sample_shape(SIDE, SIDE), seeds=[1], keys=[b"k"])
    sample, calls = METHODS[method]
    found = sample(Problem(prior=prior, measurement=measurement, noise=noise))
    assert found.calls == calls
    assert found.images.shape == (1, 3, SIDE, SIDE)
    assert torch.isfinite(found.images).all()


def test_a_pixel_prior_s_clean_images_stay_in_range(tmp_path: Path) -> None:
    prior = pixel_prior(load_pixel_unet(save_pixel(tmp_path)))
    assert prior.clips
    operator = Inpainting(random_kept(SIDE, SIDE, dropped=0.5, seed=0))
    measurement = Measurement(
        y=operator.A(torch.ones(1, 3, SIDE, SIDE)), operator=operator, noise=0.0, size=(SIDE, SIDE)
    )
    noise = PlacedNoise((3, SIDE, SIDE), seeds=[1], keys=[b"k"])
    found = sample_dps(
        Problem(prior=prior, measurement=measurement, noise=noise),
        settings=DpsConfig(),
        scale=0.0,
        steps=2,
        select=True,
    )
    assert found.images.abs().max() <= 1.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "not a UNet2DModel"),
        ({"num_class_embeds": 10}, "class label"),
        ({"in_channels": 4}, "4 to 3 channels"),
        ({"out_channels": 4}, "3 to 4 channels"),
        ({"block_out_channels": [8, 32]}, "cannot load"),
    ],
)
def test_a_folder_that_is_no_pixel_prior_is_refused(
    change: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    path = save_pixel(tmp_path) / "unet" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **change}), encoding="utf-8")
    with pytest.raises(BackboneError, match=complaint) as caught:
        load_pixel_unet(tmp_path)
    assert caught.value.hint


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"config\.json"):
        load_pixel_unet(tmp_path)


def test_an_exact_prior_shrinks_towards_its_mean() -> None:
    prior = GaussianPrior(
        torch.zeros(1, 1, 2).double(), torch.diag(torch.tensor([4.0, 0.0]).double())
    )
    x = torch.tensor([[[[2.0, 2.0]]]]).double()
    assert torch.allclose(prior.denoise(x, 2.0), torch.tensor([1.0, 0.0]).double())


def test_the_embedded_prior_knows_photographs_at_every_noise_level() -> None:
    prior = load_prior(
        PriorConfig(), RuntimeConfig(device="cpu", dtype="fp32"), method="latino"
    ).prior
    pixels = read_image(PHOTOS / "coffee.jpg").pixels[100:196, 100:196]
    image = 2.0 * torch.from_numpy(to_float(pixels)).permute(2, 0, 1)[None] - 1.0
    with torch.no_grad():
        clean = prior.encode(image)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        for sigma in (0.1, 0.3, 1.0, 3.0):
            noisy = clean + sigma * noise
            found = prior.denoise(noisy, sigma)
            # The best that one gain for all can do, told the truth.
            gain = (noisy * clean).sum() / noisy.square().sum()
            by_gain = prior.decode(gain * noisy) - image
            assert (prior.decode(found) - image).square().mean() < 0.6 * by_gain.square().mean()
