"""The reference's numbers, end to end and stage by stage."""

from __future__ import annotations

import json

import pytest
import torch

from hypir_cli.pixels import color
from hypir_cli.restore.parity import (
    ParityTiles,
    at_least,
    decode_canvas,
    denoise_canvas,
    encode_canvas,
    gaussian_weights,
    pad_to_multiple,
    resize,
    restore_parity,
    sliding_windows,
)
from tests import golden

TOLERANCE = 2e-4
SMALL_TILES = ParityTiles(size=64, stride=32)
QUICK = ("a96x96_p64s32", "b200x136_p64s32", "c320x256_p64s32_x1_mode", "a96x96_p512s256_x1_mode")


@pytest.fixture(scope="module")
def backbone():
    return golden.model()


@pytest.fixture(scope="module")
def prompt(backbone):
    with torch.inference_mode():
        return backbone.encode_prompts([golden.PROMPT])


def all_outputs():
    for entry in golden.manifest():
        name = entry["name"]
        marks = () if name.startswith(QUICK) else pytest.mark.slow
        yield pytest.param(entry, id=name, marks=marks)


@pytest.mark.parametrize("entry", list(all_outputs()))
def test_every_output_of_the_reference_is_reproduced(backbone, prompt, entry):
    source, tiles, upscale, noise = entry["name"].split("_")[:4]
    size, stride = tiles.removeprefix("p").split("s")
    restored = restore_parity(
        backbone,
        golden.image(source),
        prompt=prompt,
        tiles=ParityTiles(size=int(size), stride=int(stride)),
        upscale=int(upscale.removeprefix("x")),
        posterior_seed=231 if noise == "seed231" else None,
    )
    expected, step = golden.output(entry["name"])
    assert golden.distance(restored[0, :, ::step, ::step], expected) <= TOLERANCE
    assert float(restored.double().sum()) == pytest.approx(entry["sum_all_pixels"], rel=1e-5)


@torch.inference_mode()
def test_every_stage_of_a_tiled_run_is_reproduced(backbone, prompt):
    stages = golden.tensors("stages/a96x96_p64s32_x1_mode")
    image = golden.image("a96x96")
    golden.contiguous(backbone)
    assert golden.distance(pad_to_multiple(image) * 2 - 1, stages["padded_lq"]) < 1e-6
    latents = encode_canvas(backbone, image, tiles=SMALL_TILES)
    assert golden.distance(latents, stages["z_lq"] * golden.SCALING) < 5e-5
    clean = denoise_canvas(
        backbone, latents, prompt=prompt, tiles=SMALL_TILES, timestep=200, coeff_timestep=200
    )
    assert golden.distance(clean, stages["z"] * golden.SCALING) < 5e-5
    decoded = decode_canvas(backbone, clean, tiles=SMALL_TILES)
    assert golden.distance(decoded * 2 - 1, stages["x_dec"]) < 5e-5
    assert golden.distance(decoded, stages["x_resized"]) < 5e-5
    fixed = color.color_fix(stages["x_resized"], stages["ref"], "wavelet")
    assert golden.distance(fixed, stages["out_unclamped"]) < 5e-5


@pytest.mark.slow
@torch.inference_mode()
def test_every_stage_of_a_small_image_that_is_enlarged_is_reproduced(backbone, prompt):
    stages = golden.tensors("stages/a96x96_p512s256_x1_mode")
    golden.contiguous(backbone)
    canvas = at_least(golden.image("a96x96"), side=512)
    latents = encode_canvas(backbone, canvas, tiles=ParityTiles())
    assert golden.distance(latents, stages["z_lq"] * golden.SCALING) < 5e-5
    clean = denoise_canvas(
        backbone, latents, prompt=prompt, tiles=ParityTiles(), timestep=200, coeff_timestep=200
    )
    assert golden.distance(clean, stages["z"] * golden.SCALING) < 5e-5
    decoded = resize(decode_canvas(backbone, clean, tiles=ParityTiles()), size=(96, 96))
    assert golden.distance(decoded, stages["x_resized"]) < 5e-5


def test_tile_weights_are_the_references_asymmetry_included():
    for name, expected in golden.tensors("ops/gaussian_weights").items():
        if name.startswith("w512"):
            whole = gaussian_weights(512, 512)
            found = whole[256] if name.endswith("row") else whole[:, 255]
        else:
            width, height = (int(part[1:]) for part in name.split("_"))
            found = gaussian_weights(width, height)
        assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def test_tile_windows_are_the_references():
    cases = json.loads((golden.ROOT / "ops" / "sliding_windows.json").read_text())
    for name, expected in cases.items():
        size, tile, stride = name.split("_")
        height, width = (int(side) for side in size.split("x"))
        side = int(tile[1:])
        windows = sliding_windows(height, width, tile=side, stride=int(stride[1:]))
        found = [[top, top + side, left, left + side] for top, left in windows]
        assert found == expected, name


def test_a_canvas_is_padded_with_mid_grey_and_cropped_again(backbone, prompt):
    image = golden.image("a96x96")[..., :90, :75]
    padded = pad_to_multiple(image)
    assert padded.shape[-2:] == (96, 80)
    assert (padded[..., 90:, :] == 0.5).all()
    assert (padded[..., 75:] == 0.5).all()
    restored = restore_parity(backbone, image, prompt=prompt, tiles=SMALL_TILES)
    assert restored.shape == image.shape


def test_parity_leaves_the_networks_as_they_were(backbone, prompt):
    backbone.vae.to(memory_format=torch.channels_last)
    kernel = backbone.vae.encoder.conv_in.weight
    image = golden.image("a96x96")[..., :64, :64]
    restore_parity(backbone, image, prompt=prompt, tiles=SMALL_TILES)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert backbone.vae.encoder.conv_in.weight is kernel


def test_half_precision_is_blended_in_float32(prompt):
    backbone = golden.model()
    for module in backbone.components().values():
        module.to(torch.bfloat16)
    exact, _ = golden.output("a96x96_p64s32_x1_mode")
    restored = restore_parity(backbone, golden.image("a96x96"), prompt=prompt, tiles=SMALL_TILES)
    assert restored.dtype == torch.float32
    assert golden.distance(restored[0], exact) < 0.25


@pytest.mark.parametrize(("size", "stride"), [(60, 32), (64, 30)])
def test_tiles_that_would_shift_the_latent_grid_are_refused(backbone, prompt, size, stride):
    tiles = ParityTiles(size=size, stride=stride)
    with pytest.raises(ValueError, match="multiples of 8"):
        restore_parity(backbone, golden.image("a96x96"), prompt=prompt, tiles=tiles)


def test_a_stride_beyond_the_tile_is_refused():
    with pytest.raises(ValueError, match="stride"):
        ParityTiles(size=64, stride=65)
