"""What grows with an image is held once, and what one restoration does not need is not loaded."""

from __future__ import annotations

import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hypir_cli.config.restore import RestoreConfig
from hypir_cli.images import read_image
from hypir_cli.images.data import Pixels
from hypir_cli.pixels import color, detail, strips, texture
from hypir_cli.pixels.blending import blended_bands
from hypir_cli.pixels.tiling import plan_tiles
from hypir_cli.restore import folder
from hypir_cli.restore.blend import enlarged_rows, mixed
from hypir_cli.restore.outcome import Outcome
from hypir_cli.restore.richness import meet_texture
from hypir_cli.restore.streaming import InputWindows
from tests.pictures import PHOTOS

HEAVY = (
    "accelerate diffusers peft scipy sympy torch._dynamo torchao torchvision transformers triton"
)


def photo(*, side: int = 300) -> Pixels:
    return read_image(PHOTOS / "coffee.jpg").pixels[:side, :side].copy()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_embedded_backbone_loads_no_library_of_the_large_ones(tmp_path: Path) -> None:
    Image.fromarray(photo(side=32)).save(tmp_path / "in.png")
    code = (
        "import sys; from hypir_cli.cli.app import app\n"
        f"try: app(['restore', {str(tmp_path / 'in.png')!r}, {str(tmp_path / 'out')!r}])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print('loaded:', sorted(set({HEAVY.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@contextmanager
def passes_counted(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts rows that are read of images as wide and high as these, without what lies around strips."""
    rows: list[int] = []
    real = strips.padded_rows

    def counted(image: Pixels, top: int, bottom: int, **more: object) -> Tensor:
        rows.append(bottom - top)
        return real(image, top, bottom, **more)  # type: ignore[arg-type]

    for module in (detail, texture):
        monkeypatch.setattr(module, "padded_rows", counted)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 40 * pixels.shape[1])
    yield rows


def test_texture_takes_five_passes_over_an_image_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    given = photo()
    result = (0.5 * given + 60).astype(np.uint8)  # softer than the input, so that it is brought up
    outcome = Outcome(samples=[], seeds=[], texture=1e6, enlarged=lambda top, bottom: given)
    with passes_counted(result, monkeypatch) as rows:
        control = RestoreConfig().control
        meet_texture(result, outcome, given=given, control=control, scale=1.0, parity=False)
    assert outcome.detail_gains[0] > 1.0
    # Input and result are measured, the curve is learned, detail is added, and what was reached is measured.
    assert sum(rows) == 5 * len(given)


def test_texture_that_is_there_takes_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    given = photo()
    outcome = Outcome(samples=[], seeds=[], texture=0.1, enlarged=lambda top, bottom: given)
    with passes_counted(given, monkeypatch) as rows:
        control = RestoreConfig().control
        meet_texture(given, outcome, given=given, control=control, scale=1.0, parity=False)
    assert outcome.detail_gains == [1.0]
    assert sum(rows) == len(given)


def test_all_bands_are_one() -> None:
    plan = plan_tiles(*(210, 100), largest=64, smallest=48, overlap=16, multiple=16, step=4)
    whole = noise(1, 3, 400, 400)
    places, rows = set(), []
    height, width = plan.rows.tile, plan.columns.tile

    def produce(corners: list[tuple[int, int]]) -> Tensor:
        return torch.cat([whole[..., y : y + height, x : x + width] for y, x in corners])

    for band, _ in blended_bands(plan, produce):
        places.add(band.untyped_storage().data_ptr())
        rows.append(band.clone())
    assert len(places) == 1
    assert (torch.cat(rows, dim=1) - whole[0, :, :210, :100]).abs().max() < 1e-6


@pytest.mark.parametrize("width", [1, 31, 200, 201, 555])
def test_columns_are_those_of_the_whole_to_the_last_bit(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored, reference = noise(1, 3, 40, width), noise(1, 3, 40, width, seed=1)
    whole = color.wavelet(restored, reference)
    seen: list[int] = []
    real: Callable[[Tensor], Tensor] = color.low_frequencies
    monkeypatch.setattr(color, "COLUMNS", 100)
    monkeypatch.setattr(
        color, "low_frequencies", lambda image: (seen.append(image.shape[-1]), real(image))[1]
    )
    parts = list(color.wavelet_columns(restored, reference))
    assert torch.equal(torch.cat([part for _, part in parts], dim=-1), whole)
    assert [columns.stop for columns, _ in parts[:-1]] == [
        columns.start for columns, _ in parts[1:]
    ]
    assert max(seen) <= 100 + 2 * color.COLOR_HALO["wavelet"]


def traced_peak(work: Callable[[], object]) -> int:
    """Most bytes of Python and numpy at once beside what was there before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_png_is_not_held_beside_its_pixels(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    Image.fromarray(random).save(tmp_path / "noise.png")  # as many bytes as pixels
    read_image(tmp_path / "noise.png")
    peak = traced_peak(lambda: read_image(tmp_path / "noise.png"))
    assert peak < random.nbytes + 3 * 2**20


def test_a_blend_makes_no_image_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    pixels: Pixels = random.integers(0, 256, (1200, 1000, 3), dtype=np.uint8)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 2**14)
    source = InputWindows(pixels, out_size=(1200, 1000))
    outcome = Outcome(
        samples=[],
        seeds=[],
        texture=None,
        enlarged=lambda top, bottom: enlarged_rows(source, top, bottom),
        full=[255 - pixels],
    )
    assert traced_peak(lambda: outcome.blend(0.5)) < pixels.nbytes + 2**20
    second = 255 - pixels
    expected = mixed(pixels, second, 0.5, out=np.empty_like(pixels))
    assert traced_peak(lambda: mixed(pixels, second, 0.5, out=pixels)) < 2**20
    assert np.array_equal(pixels, expected)


THREADS = """
import ctypes, psutil, threading
from hypir_cli.models.allocator import keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use():
    blocks = [ctypes.c_void_p(libc.malloc(2**23)) for _ in range(16)]
    for block in blocks:
        libc.memset(block, 1, 2**23)
    for block in blocks:
        libc.free(block)
thread = threading.Thread(target=use)
thread.start()
thread.join()
held = psutil.Process().memory_info().rss
use()
print(psutil.Process().memory_info().rss - held)
"""


def test_what_a_reading_thread_frees_the_computing_thread_uses() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc keeps freed memory")
    run = [sys.executable, "-c", THREADS]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown < 2**25  # of 2**27 bytes


def test_a_run_ends_with_what_it_kept_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photo(side=32)).save(tmp_path / "in.png")
    given_back: list[bool] = []
    monkeypatch.setattr(folder, "return_freed_memory", lambda: given_back.append(True))
    folder.restore_folder([tmp_path / "in.png"], tmp_path / "out", config=RestoreConfig())
    assert given_back == [True]
