"""The single operations of the degradation pipeline against the release's vectors and against laws."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from hypir_cli.pixels.jpeg import jpeg
from hypir_cli.train.degradation.filtering import (
    blurred_deviation,
    filter2d,
    gaussian_blur,
    resize_to,
    scale_by,
    usm_sharpen,
)
from hypir_cli.train.degradation.kernels import gaussian_family_kernel, sinc_kernel
from hypir_cli.train.degradation.noise import add_gaussian_noise, add_poisson_noise

GOLDEN = Path(__file__).parent / "data" / "degradation"
CUTOFFS = {"0.628319": math.pi / 5, "1.047198": math.pi / 3, "2.500000": 2.5, "3.141593": math.pi}


def golden(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def pattern(height: int = 96, width: int = 128) -> Tensor:
    """A photograph-like picture: smooth shading, a few edges, fine texture; (1, 3, H, W)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    shade = 0.5 + 0.3 * torch.sin(5 * x + 3 * y)
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06).float()
    weave = 0.05 * torch.sin(60 * x) * torch.sin(55 * y)
    planes = [shade + weave, 0.6 * shade + 0.3 * disc, 0.9 - 0.5 * shade + weave - 0.3 * disc]
    return torch.stack(planes)[None].clamp(0, 1)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


def test_every_kernel_family_agrees_with_the_release() -> None:
    for name, expected in golden("kernels").items():
        kind, _, rest = name.partition("_k")
        size, detail = rest.split("_", 1) if "_" in rest else (rest, "")
        if kind == "sinc":
            kernel = sinc_kernel(size=int(size), cutoff=CUTOFFS[detail[1:]])
            tolerance = 1e-7  # another implementation of the Bessel function
        else:
            beta = float(detail[1:]) if detail.startswith("b") else 1.0
            kernel = gaussian_family_kernel(
                kind,  # type: ignore[arg-type]
                size=int(size),
                sigma_x=2.3,
                sigma_y=0.9,
                rotation=0.7,
                beta=beta,
            )
            tolerance = 1e-12
        torch.testing.assert_close(kernel, expected, rtol=0, atol=tolerance, msg=name)


def test_an_unknown_kernel_family_is_refused() -> None:
    with pytest.raises(ValueError, match="sinc"):
        gaussian_family_kernel("sinc", size=7, sigma_x=1.0, sigma_y=1.0)


def test_filtering_with_one_kernel_per_image_agrees_with_the_release() -> None:
    data = golden("filter2d")
    own = filter2d(data["img"], data["kernel"])[..., ::3, ::3]
    shared = filter2d(data["img"], data["kernel"][:1])[..., ::3, ::3]
    torch.testing.assert_close(own, data["out_b2"], rtol=0, atol=1e-6)
    torch.testing.assert_close(shared, data["out_shared"], rtol=0, atol=1e-6)


def test_a_kernel_larger_than_the_image_still_filters() -> None:
    kernel = gaussian_family_kernel("iso", size=21, sigma_x=3.0, sigma_y=3.0)[None]
    for size in ((1, 1), (5, 3)):
        flat = filter2d(torch.full((1, 3, *size), 0.25), kernel)
        torch.testing.assert_close(flat, torch.full((1, 3, *size), 0.25))


def test_a_wrong_number_of_kernels_is_refused() -> None:
    with pytest.raises(ValueError, match="odd kernels"):
        filter2d(torch.rand(3, 3, 8, 8), torch.rand(2, 3, 3))


def test_resizing_agrees_with_the_release() -> None:
    data, image = golden("resize"), golden("filter2d")["img"][:1]
    for mode in ("area", "bilinear", "bicubic"):
        by_factor = scale_by(image, factor=0.37, mode=mode)
        to_size = resize_to(image, height=50, width=130, mode=mode)
        torch.testing.assert_close(by_factor, data[f"{mode}_scale0.37"], rtol=0, atol=1e-6)
        torch.testing.assert_close(to_size, data[f"{mode}_size50x130"], rtol=0, atol=1e-6)


def test_a_factor_that_would_leave_nothing_leaves_one_pixel() -> None:
    assert scale_by(torch.rand(1, 3, 4, 9), factor=0.15, mode="area").shape[-2:] == (1, 1)


def test_unsharp_masking_agrees_with_the_release() -> None:
    data, image = golden("usm"), golden("filter2d")["img"]
    torch.testing.assert_close(usm_sharpen(image)[..., ::3, ::3], data["out"], rtol=0, atol=5e-6)
    stronger = usm_sharpen(image, weight=0.8, threshold=5.0)[..., ::3, ::3]
    torch.testing.assert_close(stronger, data["out_w08_t5"], rtol=0, atol=5e-6)


def test_the_deviation_left_of_blurred_noise_is_known() -> None:
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    for sigma in (0.5, 1.3):
        left = float(gaussian_blur(noise, sigma=sigma).std())
        assert left == pytest.approx(blurred_deviation(sigma), rel=0.03)


def test_jpeg_agrees_with_the_release_at_every_quality() -> None:
    data, image = golden("diffjpeg"), golden("filter2d")["img"]
    for quality in (30, 60, 95):
        coded = jpeg(image, quality=float(quality))[..., ::3, ::3]
        torch.testing.assert_close(coded, data[f"q{quality}"], rtol=0, atol=2e-6)
    mixed = jpeg(image, quality=data["q_tensor"])[..., ::3, ::3]
    torch.testing.assert_close(mixed, data["q_mixed"], rtol=0, atol=2e-6)


def test_differentiable_jpeg_agrees_with_the_release_and_has_a_gradient() -> None:
    data = golden("diffjpeg")
    image = golden("filter2d")["img"].requires_grad_()
    coded = jpeg(image, quality=60.0, differentiable=True)
    shown = coded.detach()[..., ::3, ::3]
    torch.testing.assert_close(shown, data["q60_differentiable"], rtol=0, atol=2e-6)
    coded.sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_jpeg_leaves_the_callers_quality_alone() -> None:
    quality = torch.tensor([30.0, 95.0])
    jpeg(torch.rand(2, 3, 16, 16), quality=quality)
    assert quality.tolist() == [30.0, 95.0]


@pytest.mark.parametrize(
    ("quality", "bound"), [(10, 41.0), (30, 44.0), (60, 44.0), (75, 44.0), (95, 44.0), (100, 44.0)]
)
def test_the_standard_coder_shows_what_a_real_codec_shows(quality: int, bound: float) -> None:
    image = pattern(93, 121)  # not multiples of 16: the last blocks count too
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte()
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    decoded = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255
    exact = pixels.permute(2, 0, 1)[None] / 255
    standard = psnr(jpeg(exact, quality=float(quality), coder="standard"), decoded)
    release = psnr(jpeg(exact, quality=float(quality)), decoded)
    assert standard > bound  # decibels
    assert standard > release


@pytest.mark.parametrize("coder", ["release", "standard"])
def test_quality_100_is_nearly_lossless_for_grey(coder: str) -> None:
    gray = pattern().mean(dim=1, keepdim=True).expand(1, 3, -1, -1)
    assert psnr(jpeg(gray, quality=100.0, coder=coder), gray) > 50.0  # type: ignore[arg-type]


def test_a_quality_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.\.100"):
        jpeg(torch.rand(1, 3, 16, 16), quality=0.0)
    with pytest.raises(ValueError, match=r"1\.\.100"):
        jpeg(torch.rand(2, 3, 16, 16), quality=torch.tensor([50.0, 101.0]))


def after(draws: int, *, poisson_of: list[Tensor] | None = None) -> torch.Generator:
    """The release's single stream, moved on past the draws it spends on other images."""
    generator = torch.Generator().manual_seed(17)
    if draws:
        torch.randn(draws, generator=generator)
    for rates in poisson_of or []:
        torch.poisson(rates, generator=generator)
    return generator


def test_gaussian_noise_of_the_release_is_met_draw_by_draw() -> None:
    data = golden("noise_seed17")
    image, plane = data["img"], 40 * 48
    one = torch.Generator().manual_seed(17)
    color = add_gaussian_noise(image, sigma=[20.0, 5.0], gray=[False, False], generators=[one, one])
    torch.testing.assert_close(color, data["gauss_s20_color"], rtol=0, atol=1e-6)
    streams = [
        after(0),
        after(plane + 3 * plane),
    ]  # the grey map, then the first image's colour map
    mixed = add_gaussian_noise(image, sigma=[20.0, 5.0], gray=[True, False], generators=streams)
    torch.testing.assert_close(mixed, data["gauss_s20_mixed"], rtol=0, atol=1e-6)


def photon_rates(planes: Tensor) -> Tensor:
    exact = (planes * 255).round() / 255
    return exact * 2 ** math.ceil(math.log2(len(exact.unique())))


def test_poisson_noise_of_the_release_is_met_draw_by_draw() -> None:
    data = golden("noise_seed17")
    image = data["img"]
    one = torch.Generator().manual_seed(17)
    color = add_poisson_noise(image, scale=[1.5, 0.5], gray=[False, False], generators=[one, one])
    torch.testing.assert_close(color, data["poisson_s1.5_color"], rtol=0, atol=1e-6)
    luma = (image * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    spent = [photon_rates(luma[0]), photon_rates(luma[1]), photon_rates(image[0])]
    streams = [after(0), after(0, poisson_of=spent)]
    mixed = add_poisson_noise(image, scale=[1.5, 0.5], gray=[True, False], generators=streams)
    torch.testing.assert_close(mixed, data["poisson_s1.5_mixed"], rtol=0, atol=1e-6)


def test_gaussian_noise_has_the_deviation_that_was_asked_for() -> None:
    gray = torch.full((2, 3, 128, 128), 0.5)
    streams = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    noise = (
        add_gaussian_noise(gray, sigma=[25.0, 5.0], gray=[False, True], generators=streams) - gray
    )
    assert float(noise[0].std()) * 255 == pytest.approx(25.0, rel=0.03)
    assert float(noise[1].std()) * 255 == pytest.approx(5.0, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0.0, abs=2e-3)


def test_gray_noise_is_equal_in_all_channels_and_different_in_every_image() -> None:
    flat = torch.full((2, 3, 32, 32), 0.5)
    streams = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    noise = add_gaussian_noise(flat, sigma=[9.0, 9.0], gray=[True, True], generators=streams) - flat
    torch.testing.assert_close(noise[:, 0], noise[:, 2])
    assert not torch.allclose(noise[0], noise[1])


def test_poisson_noise_grows_with_the_square_root_of_the_signal() -> None:
    ramp = torch.linspace(0, 1, 256).repeat(3, 256, 1)[None]
    noisy = add_poisson_noise(
        ramp, scale=[0.5], gray=[False], generators=[torch.Generator().manual_seed(5)]
    )
    deviation = (noisy - ramp)[0].std(dim=(0, 1))
    assert float(deviation[160] / deviation[40]) == pytest.approx(2.0, rel=0.1)
    # 256 levels in use: the count at level v has variance v * 256, halved here.
    assert float(deviation[128]) == pytest.approx(0.5 * math.sqrt(128 / 255 / 256), rel=0.1)
