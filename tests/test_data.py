"""Training samples and batches: every draw follows from the seed and the sample's number."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hypir_cli.config.data import DataConfig
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.train.data.dataset import Batch, TrainingLoader, make_loader
from hypir_cli.train.data.order import EpochOrder
from hypir_cli.train.data.photos import read_photo
from hypir_cli.train.data.samples import Sample, TrainingSet


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(7):
        pixels = rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"photo {number}", encoding="utf-8")
    return tmp_path


def config(folder: Path, **changes: object) -> DataConfig:
    return DataConfig(**{"sources": (str(folder),), "crop_size": 16, **changes})  # type: ignore[arg-type]


def take(loader: TrainingLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def same(a: Sample, b: Sample) -> bool:
    return torch.equal(a.image, b.image) and (a.prompt, a.name, a.key) == (b.prompt, b.name, b.key)


def test_a_sample_depends_on_its_number_and_the_seed_only(photos: Path) -> None:
    data, again = (TrainingSet(config(photos), seed=3) for _ in range(2))
    backwards = {index: data.sample(index) for index in reversed(range(20))}
    assert all(same(backwards[index], again.sample(index)) for index in range(20))
    assert not same(backwards[0], TrainingSet(config(photos), seed=4).sample(0))
    assert backwards[0].image.dtype == torch.uint8
    assert backwards[0].image.shape == (3, 16, 16)
    assert backwards[5].key == (3, 0, 5)


def test_every_epoch_shows_every_photograph_once_in_a_new_order(photos: Path) -> None:
    data = TrainingSet(config(photos), seed=0)
    assert len(data) == 7
    epochs = [[data.sample(epoch * 7 + place).prompt for place in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == [f"photo {number}" for number in range(7)] for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_without_shuffling_the_stored_order_repeats(photos: Path) -> None:
    data = TrainingSet(config(photos, shuffle=False, crop="center", flip_probability=0.0), seed=0)
    assert [data.sample(index).prompt[-1] for index in range(9)] == list("012345601")
    assert torch.equal(data.sample(0).image, data.sample(7).image)
    original = read_photo(photos / "0.png", name="")[12:28, 17:33]
    np.testing.assert_array_equal(data.sample(0).image.permute(1, 2, 0).numpy(), original)


def test_crops_move_and_flips_happen_about_as_often_as_asked(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "ramp.png")
    data = TrainingSet(config(tmp_path, flip_probability=0.25), seed=1)
    rows = [data.sample(index).image[0, 0].int() for index in range(300)]
    flipped = [bool(row[0] > row[-1]) for row in rows]
    assert sum(flipped) / 300 == pytest.approx(0.25, abs=0.08)
    places = {int(row.min()) // 4 for row in rows}
    assert places <= set(range(49))
    assert len(places) > 40


def test_the_sharpest_of_several_places_is_taken(tmp_path: Path) -> None:
    pixels = np.full((128, 128, 3), 90, np.uint8)
    pixels[:, 96:] = np.random.default_rng(0).integers(0, 256, (128, 32, 3))
    Image.fromarray(pixels).save(tmp_path / "mostly-sky.png")
    shares = {}
    for places in (1, 8):
        data = TrainingSet(config(tmp_path, sharpest_of=places), seed=1)
        shares[places] = sum(data.sample(n).image.float().std() > 1 for n in range(100)) / 100
    assert shares[1] < 0.5
    assert shares[8] > 0.8
    assert same(data.sample(3), TrainingSet(data.config, seed=1).sample(3))


def test_crops_of_other_scales_show_more_of_the_photograph(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "ramp.png")
    data = TrainingSet(config(tmp_path, smallest_scale=0.25, flip_probability=0.0), seed=1)
    rows = [data.sample(index).image[0, 8].int() for index in range(100)]
    assert all(data.sample(index).image.shape == (3, 16, 16) for index in range(5))
    spans = [int(row[-1] - row[0]) for row in rows]
    # At full size a crop of 16 spans 60 levels, at a quarter the whole ramp.
    assert min(spans) < 75
    assert max(spans) > 220


def test_the_photographs_own_size_limits_the_scale(photos: Path) -> None:
    data = TrainingSet(config(photos, crop_size=40, smallest_scale=0.1), seed=0)
    assert all(data.sample(index).image.shape == (3, 40, 40) for index in range(7))


def test_prompts_are_dropped_about_as_often_as_asked(photos: Path) -> None:
    data = TrainingSet(config(photos, prompt_dropout=0.3), seed=1)
    empty = sum(data.sample(index).prompt == "" for index in range(300))
    assert empty / 300 == pytest.approx(0.3, abs=0.08)


def test_small_photographs_are_mirrored_or_enlarged_to_the_crop(photos: Path) -> None:
    for small in ("reflect", "enlarge"):
        data = TrainingSet(config(photos, crop_size=120, small=small), seed=0)
        assert data.sample(0).image.shape == (3, 120, 120)
    mirrored = TrainingSet(
        config(photos, crop_size=120, crop="center", flip_probability=0.0, shuffle=False), seed=0
    ).sample(0)
    original = read_photo(photos / "0.png", name="")
    np.testing.assert_array_equal(mirrored.image[:, :40, :50].permute(1, 2, 0).numpy(), original)
    np.testing.assert_array_equal(mirrored.image[:, 40, :50].T.numpy(), original[38])


def test_resizing_the_short_side_shows_the_whole_of_it(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (10, 20, 30)).save(tmp_path / "a.jpg")
    data = TrainingSet(config(tmp_path, resize="short-side", cache_megabytes=1), seed=0)
    assert data.sample(0).image.shape == (3, 16, 16)
    assert same(data.sample(0), data.sample(0))


def test_a_broken_file_is_skipped_counted_and_named_once(photos: Path) -> None:
    (photos / "3.png").write_bytes(b"\x89PNG not an image")
    told: list[str] = []
    loader = make_loader(
        config(photos), batch_size=7, seed=0, on_bad_file=lambda name, reason: told.append(name)
    )
    for batch in take(loader, 3):
        assert not any(name.endswith("3.png") for name in batch.names)
    assert told == list(loader.bad_files) == [str(photos / "3.png")]
    assert "3.png" in loader.bad_files[told[0]]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_when_every_file_is_broken_the_run_ends_with_an_error(photos: Path, workers: int) -> None:
    for file in photos.glob("*.png"):
        file.write_bytes(b"broken")
    with pytest.raises(InputError, match="none of the 7 training files") as raised:
        take(make_loader(config(photos), batch_size=2, seed=0, workers=workers), 1)
    assert raised.value.hint


def test_a_loader_started_at_a_position_goes_on_as_if_it_had_never_stopped(photos: Path) -> None:
    unbroken = take(make_loader(config(photos), batch_size=3, seed=5), 6)
    first = make_loader(config(photos), batch_size=3, seed=5)
    take(first, 2)
    assert first.state_dict() == {"position": 6}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    resumed = make_loader(
        config(photos), batch_size=3, seed=5, start_index=first.state_dict()["position"]
    )
    rest = take(resumed, 4)
    assert torch.equal(before, torch.get_rng_state())
    for expected, batch in zip(unbroken[2:], rest, strict=True):
        assert torch.equal(expected.images, batch.images)
        assert (expected.prompts, expected.keys) == (batch.prompts, batch.keys)


def test_two_ranks_with_half_the_batch_see_what_one_rank_sees(photos: Path) -> None:
    whole = take(make_loader(config(photos), batch_size=4, seed=5), 3)
    halves = [
        take(make_loader(config(photos), batch_size=2, seed=5, rank=rank, world_size=2), 3)
        for rank in range(2)
    ]
    for step in range(3):
        keys = [half[step].keys for half in halves]
        assert set(keys[0]).isdisjoint(keys[1])
        assert sorted(keys[0] + keys[1]) == sorted(whole[step].keys)


@pytest.mark.slow
def test_reading_ahead_in_other_processes_changes_nothing(photos: Path) -> None:
    alone = take(make_loader(config(photos), batch_size=4, seed=5), 3)
    ahead = take(make_loader(config(photos), batch_size=4, seed=5, workers=2), 3)
    for one, other in zip(alone, ahead, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.keys == other.keys


def test_batches_are_float_images_in_the_unit_range(photos: Path) -> None:
    (batch,) = take(make_loader(config(photos), batch_size=5, seed=0), 1)
    assert batch.images.shape == (5, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert 0.9 < float(batch.images.max()) <= 1.0
    assert len(batch.prompts) == len(batch.names) == len(batch.keys) == 5


def test_a_pool_size_that_is_no_multiple_of_the_batch_is_refused_with_both_numbers(
    photos: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"pool_size 10 .* batch size 8") as raised:
        make_loader(config(photos, pool_size=10), batch_size=4, seed=0, world_size=2)
    assert "8" in raised.value.hint


def test_a_pool_keeps_samples_near_their_neighbours_and_sources_together() -> None:
    order = EpochOrder([40, 60], seed=0, pool_size=10)
    items = [order.item(sample) for sample in range(100)]
    assert sorted(items) == list(range(100))
    starts_with_first = items[0] < 40
    front = items[:40] if starts_with_first else items[60:]
    assert sorted(front) == list(range(40))
    for start in range(0, 40, 10):
        assert max(front[start : start + 10]) - min(front[start : start + 10]) == 9
    assert items != sorted(items)
    assert items != [order.item(sample) for sample in range(100, 200)]


@pytest.mark.parametrize(
    "values",
    [
        {"crop_size": 0},
        {"prompt_dropout": 1.1},
        {"flip_probability": -0.1},
        {"workers": -1},
        {"sharpest_of": 0},
        {"smallest_scale": 0.0},
        {"pool_size": 8, "shuffle": False},
    ],
)
def test_a_data_setting_out_of_range_is_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        DataConfig(**values)  # type: ignore[arg-type]
