"""Operators: exact transposes, inverses that project, proximal steps that are least, and what deepinv says of the same damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor

from hypir_cli.errors import InputError
from hypir_cli.solvers.kernel_file import read_kernel
from hypir_cli.solvers.operators import (
    Blur,
    Downsampling,
    Grey,
    HasAdjoint,
    Inpainting,
    Jpeg,
    LinearOperator,
    Windowed,
    box_kept,
    conjugate_prox,
    kernels,
    num_measured,
    random_kept,
)

SIZE = (24, 32)


def sharp() -> Tensor:
    """A mild blur, whose inverse is well defined, off centre and not symmetric."""
    kernel = torch.zeros(3, 5, dtype=torch.float64)
    kernel[1, 2], kernel[0, 3], kernel[2, 1] = 0.9, 0.06, 0.04
    return kernel


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "x2": lambda: Downsampling(2),
    "x4": lambda: Downsampling(4),
    "x8": lambda: Downsampling(8),
    "gaussian": lambda: Blur(kernels.gaussian(size=61, sigma=3.0)),
    "line": lambda: Blur(kernels.line(length=9, angle=30)),
    "walk": lambda: Blur(kernels.random_walk(size=15, intensity=0.5, seed=1)),
    "sharp": lambda: Blur(sharp()),
    "even": lambda: Blur(torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) / 12),
    "box": lambda: Inpainting(box_kept(*SIZE, side=9)),
    "random": lambda: Inpainting(random_kept(*SIZE, dropped=0.8, seed=3)),
    "grey": Grey,
    "window": lambda: Windowed(Downsampling(4), rows=(1, 5), columns=(0, 7)),
}
INVERTIBLE = ["x2", "x4", "x8", "sharp", "box", "random", "grey"]


def images(*, batch: int = 2, size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, *size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_transpose_is_exact(name: str) -> None:
    operator, x = OPERATORS[name](), images()
    measured = operator.A(x)
    y = torch.randn(measured.shape, generator=torch.Generator().manual_seed(1)).double()
    left, right = (measured * y).sum(), (x * operator.A_adjoint(y)).sum()
    assert torch.isclose(left, right, rtol=1e-9)
    single = operator.A(x.float())
    left, right = (single * y.float()).sum(), (x.float() * operator.A_adjoint(y.float())).sum()
    assert abs(left - right) <= 1e-5 * single.norm() * y.norm()


@pytest.mark.parametrize("name", OPERATORS)
def test_the_transpose_is_what_autograd_finds(name: str) -> None:
    operator, x = OPERATORS[name](), images().requires_grad_(True)
    measured = operator.A(x)
    y = torch.ones_like(measured)
    (found,) = torch.autograd.grad(measured, x, y)
    assert torch.allclose(found, operator.A_adjoint(y), atol=1e-10)


@pytest.mark.parametrize("name", INVERTIBLE)
def test_inverting_what_was_measured_is_a_projection(name: str) -> None:
    operator, x = OPERATORS[name](), images()
    once = operator.A_dagger(operator.A(x))
    twice = operator.A_dagger(operator.A(once))
    assert torch.allclose(once, twice, atol=1e-5)
    assert torch.allclose(operator.A(once), operator.A(x), atol=1e-5)
    assert ((x - once) * once).sum().abs() <= 1e-4 * x.norm() ** 2


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("gamma", [0.5, 300.0])
def test_the_proximal_step_is_least(name: str, gamma: float) -> None:
    operator, z = OPERATORS[name](), images()
    y = operator.A(images(seed=5))
    x = operator.prox_l2(z, y, gamma)
    gradient = gamma * operator.A_adjoint(operator.A(x) - y) + x - z
    assert gradient.norm() <= 1e-4 * gamma * y.norm()
    assert torch.allclose(x, conjugate_prox(operator, z, y, gamma), atol=2e-3)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_image_is_measured_the_same_in_any_company(name: str) -> None:
    operator, x = OPERATORS[name](), images(batch=3)
    together = operator.A(x)
    for index in range(3):
        assert torch.allclose(together[index : index + 1], operator.A(x[index : index + 1]))


@pytest.mark.parametrize("name", ["x2", "x4", "gaussian", "line", "walk", "grey"])
def test_a_flat_image_stays_flat(name: str) -> None:
    flat = torch.full((1, 3, *SIZE), 0.3)
    assert torch.allclose(OPERATORS[name]().A(flat), torch.tensor(0.3), atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "line", "box", "grey"])
def test_one_pixel_can_be_measured(name: str) -> None:
    operator = Inpainting(box_kept(1, 1, side=1)) if name == "box" else OPERATORS[name]()
    x = images(size=(1, 1))
    y = operator.A(x)
    assert y.shape[-2:] == (1, 1)
    left, right = (y * y).sum(), (x * operator.A_adjoint(y)).sum()
    assert torch.isclose(left, right)


@pytest.mark.parametrize("name", ["x4", "gaussian", "line", "box", "grey"])
def test_bfloat16_stays_bfloat16_and_close(name: str) -> None:
    operator, x = OPERATORS[name](), images().bfloat16()
    y = operator.A(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.double(), operator.A(x.double()), atol=0.05)


def test_sides_must_be_multiples_of_the_factor() -> None:
    with pytest.raises(ValueError, match="24 x 30"):
        Downsampling(4).A(images(size=(24, 30)))


def test_shrinking_is_what_torch_does() -> None:
    x = images()
    expected = torch.nn.functional.interpolate(
        x, scale_factor=1 / 4, mode="bicubic", antialias=True
    )
    assert torch.allclose(Downsampling(4).A(x), expected, atol=1e-6)


def test_lost_pixels_do_not_count_as_measured() -> None:
    y = images()
    assert num_measured(Inpainting(box_kept(*SIZE, side=8)), y) == 3 * (24 * 32 - 64)
    assert num_measured(Grey(), y[:, :1]) == 24 * 32


def test_a_window_of_a_mask_is_its_part_and_nothing_is_known_beyond() -> None:
    operator = Inpainting(box_kept(8, 8, side=4)).at((4, 10), (0, 4))
    assert operator.kept.shape == (1, 1, 6, 4)
    assert not operator.kept[..., 4:, :].any()
    assert not operator.kept[..., :2, 2:].any()
    assert operator.kept[..., 2:4, :].all()


def test_a_motion_has_its_length_and_direction() -> None:
    across = kernels.line(length=9, angle=0)
    assert int((across.sum(0) > 1e-3).sum()) == 9
    assert int((across.sum(1) > 1e-3).sum()) == 1
    diagonal = kernels.line(length=9, angle=45)
    assert diagonal[1:4, 7:10].sum() > 0.2
    assert diagonal[7:10, 7:10].sum() < 0.05


def test_a_hand_shakes_by_its_seed() -> None:
    one, same, other = (
        kernels.random_walk(size=61, intensity=0.5, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.isclose(one.sum(), torch.tensor(1.0).double())
    centre = (torch.arange(61) * one.sum(0)).sum()
    assert abs(centre - 30) < 1


def test_jpeg_is_no_linear_operator_but_has_a_gradient() -> None:
    operator, x = Jpeg(30), images(batch=1).clamp(-1, 1).float().requires_grad_(True)
    assert not isinstance(operator, HasAdjoint)
    (gradient,) = torch.autograd.grad(operator.A(x).square().sum(), x)
    assert gradient.abs().sum() > 0


def test_deepinv_measures_the_same() -> None:
    from deepinv import physics

    x = images().float()
    kernel = kernels.random_walk(size=15, intensity=0.5, seed=1)
    theirs = physics.Blur(filter=kernel.float()[None, None], padding="reflect")
    assert torch.allclose(Blur(kernel).A(x), theirs.A(x), atol=1e-5)
    y = theirs.A(x)
    assert torch.allclose(Blur(kernel).A_adjoint(y), theirs.A_adjoint(y), atol=1e-5)
    kept = random_kept(*SIZE, dropped=0.5, seed=1)
    theirs = physics.Inpainting(img_size=(3, *SIZE), mask=kept[0].float().expand(3, -1, -1))
    assert torch.allclose(Inpainting(kept).A(x), theirs.A(x))
    step = Inpainting(kept).prox_l2(x, theirs.A(x), 2.0)
    assert torch.allclose(step, theirs.prox_l2(x, theirs.A(x), 2.0), atol=1e-4)
    theirs = physics.Decolorize(srf="rec601")
    assert torch.allclose(Grey().A(x), theirs.A(x), atol=1e-3)
    theirs = physics.Downsampling(
        img_size=(3, *SIZE), factor=4, filter="bicubic", padding="reflect"
    )
    # It samples one pixel further to the right and to the bottom, and continues the image differently.
    inner = (..., slice(2, -2), slice(2, -2))
    moved = theirs.A(torch.roll(x, (-1, -1), (2, 3)))
    assert torch.allclose(Downsampling(4).A(x)[inner], moved[inner], atol=1e-5)


class TestKernelFiles:
    def test_a_png_and_a_matrix_of_the_same_numbers_agree(self, tmp_path: Path) -> None:
        values = np.array([[0, 51, 0], [102, 255, 0], [0, 0, 0]], dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "psf.png")
        np.save(tmp_path / "psf.npy", values.astype(np.float32) * 40)
        tifffile.imwrite(tmp_path / "psf.tif", values.astype(np.float32) * 3)
        expected = torch.from_numpy(values / values.sum())
        for name in ("psf.png", "psf.npy", "psf.tif"):
            assert torch.allclose(read_kernel(tmp_path / name), expected)

    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            (np.zeros((3, 3)), "sums to 0"),
            (np.array([[1.0, -1.0]]), "sums to 0"),
            (np.array([[1.0, np.nan]]), "not finite"),
            (np.ones((2000, 2)), "shape"),
            (np.ones(5), "shape"),
            (np.ones((0, 3)), "shape"),
        ],
    )
    def test_a_useless_kernel_is_refused(
        self, values: np.ndarray, complaint: str, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "psf.npy", values)
        with pytest.raises(InputError, match=complaint) as caught:
            read_kernel(tmp_path / "psf.npy")
        assert caught.value.hint

    @pytest.mark.parametrize("name", ["psf.npy", "psf.tif", "psf.png"])
    def test_a_file_that_is_no_kernel_is_named(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text("words", encoding="utf-8")
        with pytest.raises(InputError, match=name):
            read_kernel(tmp_path / name)
        with pytest.raises(InputError, match="gone"):
            read_kernel(tmp_path / f"gone.{name}")
