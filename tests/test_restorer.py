"""The restorer around networks that are the identity, or that fail in known ways."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from hypir_cli.errors import DeviceError
from hypir_cli.restore import restorer as restorer_module
from hypir_cli.restore.restorer import Restorer, TileLimits, native_limits
from hypir_cli.restore.tile_pass import Request
from hypir_cli.restore.times import StageTimes
from tests.identity import IdentityBackbone


def make_request(backbone: IdentityBackbone) -> Request:
    return Request(prompt=backbone.encode_prompts([""]), timestep=200, coeff_timestep=200)


def random_pixels(
    height: int, width: int, channels: int = 3, dtype: type = np.uint8, seed: int = 0
) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


SIZES = [(1, 1), (1, 50), (3, 7), (64, 64), (65, 80), (200, 133), (2000, 37), (37, 2000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("color_fix", ["wavelet", "adain", "none"])
def test_an_identity_network_gives_the_input_back(size: tuple[int, int], color_fix: str) -> None:
    backbone = IdentityBackbone()
    pixels = random_pixels(*size)
    request = dataclasses.replace(make_request(backbone), color_fix=color_fix)
    result = Restorer(backbone, limits=native_limits(backbone, overlap=16)).restore(
        pixels, request=request
    )
    assert np.array_equal(result, pixels)


@pytest.mark.parametrize(("largest", "overlap"), [(32, 0), (32, 16), (56, 13), (400, 64)])
def test_tile_and_overlap_do_not_matter_to_an_identity(largest: int, overlap: int) -> None:
    backbone = IdentityBackbone()
    pixels = random_pixels(150, 211)
    limits = TileLimits(largest=largest, overlap=overlap, batch=3)
    result = Restorer(backbone, limits=limits).restore(pixels, request=make_request(backbone))
    assert np.array_equal(result, pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_come_back_within_half_a_level(channels: int) -> None:
    backbone = IdentityBackbone()
    pixels = random_pixels(90, 170, channels, np.uint16)
    restorer = Restorer(backbone, limits=native_limits(backbone, overlap=16))
    result = restorer.restore(pixels, request=make_request(backbone))
    assert result.dtype == np.uint16
    assert np.array_equal(result, pixels)


def test_the_output_has_the_size_asked_for_and_matches_the_whole_image_resize() -> None:
    backbone = IdentityBackbone()
    pixels = random_pixels(60, 45)
    restorer = Restorer(backbone, limits=native_limits(backbone, overlap=16))
    result = restorer.restore(pixels, request=make_request(backbone), out_size=(150, 121))
    whole = torch.from_numpy(pixels.transpose(2, 0, 1))[None] / 255
    expected = torch.nn.functional.interpolate(whole, (150, 121), mode="bicubic").clamp(0, 1)
    difference = result.astype(float) - 255 * expected[0].permute(1, 2, 0).numpy()
    assert abs(difference).max() <= 0.501


def test_batch_size_does_not_change_bytes() -> None:
    backbone = IdentityBackbone()
    pixels = random_pixels(150, 211)
    request = dataclasses.replace(make_request(backbone), generativity=0.3)
    results = [
        Restorer(backbone, limits=TileLimits(largest=64, overlap=16, batch=batch)).restore(
            pixels, request=request
        )
        for batch in (1, 2, 5)
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_seeds_matter_only_where_noise_is_used() -> None:
    backbone = IdentityBackbone()
    pixels = random_pixels(70, 90)
    restorer = Restorer(backbone, limits=native_limits(backbone, overlap=16))

    def restored(seed: int, generativity: float) -> np.ndarray:
        request = dataclasses.replace(
            make_request(backbone), seed=seed, generativity=generativity, color_fix="none"
        )
        return restorer.restore(pixels, request=request)

    assert np.array_equal(restored(1, 0.0), restored(2, 0.0))
    assert np.array_equal(restored(1, 0.5), restored(1, 0.5))
    assert not np.array_equal(restored(1, 0.5), restored(2, 0.5))


def test_noise_is_the_same_whatever_the_tiles() -> None:
    backbone = IdentityBackbone()
    pixels = np.full((128, 128, 3), 128, np.uint8)
    request = dataclasses.replace(make_request(backbone), generativity=0.05, color_fix="none")
    one = Restorer(backbone, limits=TileLimits(largest=128, overlap=0, batch=1))
    many = Restorer(backbone, limits=TileLimits(largest=64, overlap=16, batch=1))
    whole = one.restore(pixels, request=request).astype(int)
    tiled = many.restore(pixels, request=request).astype(int)
    assert abs(whole - tiled).max() <= 1


class Overflowing(IdentityBackbone):
    """One network gives NaN in half precision, and for bright tiles alone."""

    def __init__(self, *, name: str) -> None:
        super().__init__()
        self.name = name
        self.casts: list[tuple[str, ...]] = []
        for module in self.components().values():
            module.half()

    def overflow(self, name: str, values: Tensor) -> Tensor:
        narrow = next(self.components()[name].parameters()).dtype == torch.float16
        bright = bool(values.mean() > 0.5)
        return values * torch.nan if name == self.name and narrow and bright else values

    def decode(self, latents: Tensor) -> Tensor:
        return self.overflow("vae", super().decode(latents))

    def predict_clean(self, latents: Tensor, output: Tensor, *, timestep: Tensor) -> Tensor:
        return self.overflow("denoiser", super().predict_clean(latents, output, timestep=timestep))

    @contextmanager
    def in_float32(self, *names: str) -> Iterator[None]:
        self.casts.append(names)
        with super().in_float32(*names):
            yield


@pytest.mark.parametrize("name", ["vae", "denoiser"])
def test_what_overflows_is_computed_again_in_float32_and_nothing_else(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = Overflowing(name=name)
    pixels = random_pixels(80, 300) // 4
    pixels[:, 150:] += 190
    limits = TileLimits(largest=64, overlap=16, batch=1)
    restored = Restorer(backbone, limits=limits).restore(pixels, request=make_request(backbone))
    assert np.array_equal(restored, pixels)
    # Only the tiles that need it, and only the network that overflows; text encoders are never touched.
    tiles = Restorer(backbone, limits=limits).plan(80, 300).count
    assert 0 < len(backbone.casts) < tiles
    assert set(backbone.casts) == {(name,)}
    assert {module.weight.dtype for module in (backbone.vae, backbone.denoiser)} == {torch.float16}
    assert [record.message for record in caplog.records] == [
        f"the {name} overflowed; computing it in float32 where it does"
    ]


class Broken(IdentityBackbone):
    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents) * torch.nan


def test_nan_in_float32_is_an_error_that_says_so() -> None:
    backbone = Broken()
    with pytest.raises(DeviceError, match="NaN even in float32"):
        Restorer(backbone, limits=native_limits(backbone)).restore(
            random_pixels(20, 20), request=make_request(backbone)
        )


class Cramped(IdentityBackbone):
    """Holds a limited number of pixels at once."""

    def __init__(self, *, room: int) -> None:
        super().__init__(native_tile=256)
        self.room = room
        self.failures = 0

    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        if images.shape[0] * images.shape[2] * images.shape[3] > self.room:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().encode(images, noise=noise)


def test_out_of_memory_halves_the_batch_and_then_the_tile() -> None:
    backbone = Cramped(room=100 * 100)
    restorer = Restorer(backbone, limits=TileLimits(largest=256, overlap=32, batch=4))
    pixels = random_pixels(300, 300)
    assert np.array_equal(restorer.restore(pixels, request=make_request(backbone)), pixels)
    assert max(shape[2] for shape in backbone.calls) <= 100


def test_the_next_image_starts_where_the_last_one_fitted() -> None:
    backbone = Cramped(room=100 * 100)
    restorer = Restorer(backbone, limits=TileLimits(largest=256, overlap=32, batch=4))
    pixels = random_pixels(300, 300)
    restorer.restore(pixels, request=make_request(backbone))
    backbone.calls.clear()
    backbone.failures = 0
    restorer.restore(pixels, request=make_request(backbone))
    assert backbone.failures == 0
    assert restorer.limits.largest < 256


def test_an_image_that_never_fits_leaves_the_limits_for_the_others() -> None:
    backbone = Cramped(room=1)
    limits = native_limits(backbone)
    restorer = Restorer(backbone, limits=limits)
    with pytest.raises(DeviceError):
        restorer.restore(random_pixels(100, 100), request=make_request(backbone))
    assert restorer.limits == limits


def test_cached_memory_is_released_after_the_failed_tensors_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[Tensor]] = []

    class Holding(Cramped):
        def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
            activations = images + 1.0
            held.append(weakref.ref(activations))
            return super().encode(images, noise=noise)

    alive: list[int] = []
    monkeypatch.setattr(
        restorer_module,
        "release_cached_memory",
        lambda: alive.append(sum(reference() is not None for reference in held)),
    )
    backbone = Holding(room=100 * 100)
    restorer = Restorer(backbone, limits=TileLimits(largest=256, overlap=32, batch=1))
    restorer.restore(random_pixels(300, 300), request=make_request(backbone))
    assert alive
    assert set(alive) == {0}


def test_out_of_memory_with_the_smallest_tile_says_what_to_do() -> None:
    backbone = Cramped(room=1)
    with pytest.raises(DeviceError, match="smallest tiles") as caught:
        Restorer(backbone, limits=native_limits(backbone)).restore(
            random_pixels(100, 100), request=make_request(backbone)
        )
    assert caught.value.hint


def test_other_errors_are_not_taken_for_memory() -> None:
    class Buggy(IdentityBackbone):
        def decode(self, latents: Tensor) -> Tensor:
            raise RuntimeError("shape mismatch")

    backbone = Buggy()
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Restorer(backbone, limits=native_limits(backbone)).restore(
            random_pixels(20, 20), request=make_request(backbone)
        )


def test_stages_are_timed_and_progress_reaches_the_end() -> None:
    backbone = IdentityBackbone()
    times, seen = StageTimes(), []
    Restorer(backbone, limits=native_limits(backbone, overlap=16)).restore(
        random_pixels(150, 150),
        request=make_request(backbone),
        times=times,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert min(times.encode, times.denoise, times.decode, times.other) > 0
    assert seen[-1][0] == seen[-1][1] == len(seen)
