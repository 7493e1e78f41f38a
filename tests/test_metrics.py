"""Own metrics against scikit-image and against what they are meant to see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import color, data, metrics
from torch import Tensor

from hypir_cli.pixels.metrics.color_shift import ciede2000, color_shift, lab
from hypir_cli.pixels.metrics.fidelity import channels, consistency, psnr, ssim
from hypir_cli.pixels.metrics.niqe import niqe


def tensor(pixels: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


@pytest.fixture(scope="module")
def photographs() -> list[NDArray[np.float64]]:
    return [data.astronaut()[40:152, 150:278] / 255.0, data.coffee()[150:270, 200:330] / 255.0]


def noisy(image: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(0, 0.05, image.shape)
    return np.clip(image + noise, 0, 1)


def test_psnr_agrees_with_scikit_image(photographs):
    for image in photographs:
        expected = metrics.peak_signal_noise_ratio(image, noisy(image), data_range=1.0)
        assert float(psnr(tensor(noisy(image)), tensor(image))) == pytest.approx(expected, abs=1e-9)


def test_ssim_agrees_with_scikit_image(photographs):
    for image in photographs:
        expected = metrics.structural_similarity(
            image,
            noisy(image),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
        )
        assert float(ssim(tensor(noisy(image)), tensor(image))) == pytest.approx(expected, abs=1e-9)


def test_luma_is_that_of_scikit_images_ycbcr(photographs):
    for image in photographs:
        expected = color.rgb2ycbcr(image)[..., 0] / 255
        found = channels(tensor(image), "y")[0, 0].numpy()
        assert np.abs(found - expected).max() < 1e-9


def test_equal_images_have_infinite_psnr_and_ssim_one(photographs):
    image = tensor(photographs[0])
    assert torch.isinf(psnr(image, image)).all()
    assert float(ssim(image, image)) == pytest.approx(1.0, abs=1e-12)


def test_images_of_a_batch_are_scored_one_by_one(photographs):
    image = tensor(photographs[0])
    others = torch.cat([tensor(noisy(photographs[0], seed)) for seed in (1, 2)])
    both = psnr(others, image.repeat(2, 1, 1, 1))
    assert both.shape == (2,)
    assert float(both[1]) == pytest.approx(float(psnr(others[1:], image)), abs=1e-9)


def test_images_of_different_size_are_refused():
    with pytest.raises(ValueError, match=r"20x16 and 20x17"):
        psnr(torch.zeros(1, 3, 16, 20), torch.zeros(1, 3, 17, 20))


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11x11, got 30x10"):
        ssim(torch.zeros(1, 3, 10, 30), torch.zeros(1, 3, 10, 30))


def test_color_difference_agrees_with_scikit_image_everywhere_in_lab():
    draws = np.random.default_rng(0)
    first = np.stack(
        [draws.uniform(low, high, (60, 60)) for low, high in ((0, 100), (-110, 110), (-110, 110))],
        -1,
    )
    second = first + draws.normal(0, 12, first.shape)
    second[:5, :, 1:] = 0.0  # Grey has no hue: a case of its own in the formula.
    expected = color.deltaE_ciede2000(first, second)
    found = ciede2000(tensor(first), tensor(second))[0].numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_color_difference_of_published_pairs_is_as_published():
    # Sharma, Wu, Dalal 2005, table 1, rows 1, 7, 17 and 25.
    rows = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ]
    for first, second, expected in rows:
        pair = [torch.tensor(one, dtype=torch.float64).view(1, 3, 1, 1) for one in (first, second)]
        assert float(ciede2000(*pair)) == pytest.approx(expected, abs=5e-5)


def test_lab_agrees_with_scikit_image(photographs):
    # scikit-image rounds the matrix to six digits, hence the tolerance.
    expected = color.rgb2lab(photographs[1])
    found = lab(tensor(photographs[1]))[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 0.01


def test_color_shift_sees_a_tint_and_not_a_change_of_detail(photographs):
    image = tensor(photographs[1])
    rows = torch.arange(image.shape[-2])[:, None] + torch.arange(image.shape[-1])[None]
    checker = ((rows % 2) * 2 - 1) * 0.04
    detail = (image * 0.9 + 0.05 + checker).clamp(0, 1)
    tint = (image * 0.9 + 0.05 + torch.tensor([0.04, 0.0, -0.04]).view(1, 3, 1, 1)).clamp(0, 1)
    plain = image * 0.9 + 0.05
    assert float(color_shift(detail, plain)) < 0.1
    assert float(color_shift(tint, plain)) > 2.0


def test_consistency_forgives_detail_that_the_input_cannot_show(photographs):
    gt = tensor(photographs[0]).float()
    size = [side // 4 for side in gt.shape[-2:]]
    lq = torch.nn.functional.interpolate(
        gt, size, mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)
    assert float(consistency(gt, lq)) > 60
    assert float(consistency(gt.flip(-1), lq)) < 20
    enlarged = torch.nn.functional.interpolate(
        lq, gt.shape[-2:], mode="bicubic", align_corners=False
    ).clamp(0, 1)
    assert float(consistency(gt, enlarged)) > float(psnr(gt, enlarged)) + 5


def test_niqe_is_lower_for_a_photograph_than_for_its_blur():
    image = tensor(data.astronaut()[:192, 128:320] / 255.0).float()
    blurred = torch.nn.functional.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)
    assert float(niqe(image)) < float(niqe(blurred)) - 1


def test_niqe_refuses_images_with_fewer_than_two_blocks():
    with pytest.raises(ValueError, match="two blocks of 96x96 pixels, got 150x100"):
        niqe(torch.rand(1, 3, 100, 150))
