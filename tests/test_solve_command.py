"""`hypir solve` as its users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import Result

from tests.builders import save_tiny
from tests.commands import run
from tests.pictures import PHOTOS, exif_block, noise, parsed
from tests.test_solve_priors import save_pixel

SR = ("--task", "super-resolution")


class Prior:
    """Where the tests' small random prior lies."""

    base: Path


@pytest.fixture(autouse=True, scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> None:
    Prior.base = save_tiny(tmp_path_factory.mktemp("prior"))


def solve(*arguments: object) -> Result:
    """A run with few steps of a small prior, in float32."""
    few = ("--steps", 3, "--device", "cpu", "--dtype", "fp32")
    return run("solve", *arguments, *few, "--base", Prior.base)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def two_lines(result: Result) -> str:
    """The message of an error, checked to be two lines."""
    assert result.exit_code == 1, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 2, result.output
    assert lines[0].startswith("Error: ")
    assert lines[1].startswith("Hint: ")
    return lines[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two small pictures, one of them in a folder below."""
    folder = tmp_path / "in"
    (folder / "deep er").mkdir(parents=True)
    with Image.open(PHOTOS / "astronaut.jpg") as picture:
        picture.crop((100, 20, 164, 84)).save(folder / "a.png", exif=exif_block())
        picture.crop((60, 60, 124, 100)).save(folder / "deep er" / "ç.jpg", quality=95)
    return folder


def draw_mask(path: Path, *, size: tuple[int, int], lost: tuple[int, int, int, int]) -> None:
    """White in a box (left, top, right, bottom), black elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(255, lost)
    mask.save(path)


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from hypir_cli.cli.app import app\n"
        "try: app(['solve', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


class TestFolders:
    def test_what_was_shrunk_comes_back_at_its_size_with_its_tree_and_metadata(
        self, photos: Path, tmp_path: Path
    ) -> None:
        small, out, report = tmp_path / "small", tmp_path / "out", tmp_path / "report.json"
        assert run("solve", photos, small, "--simulate", *SR).exit_code == 0
        assert pixels_of(small / "a.png").shape == (16, 16, 3)
        result = solve(small, out, *SR, "--report", report)
        assert result.exit_code == 0, result.output
        assert "2 solved." in result.output
        assert "Residual " in result.output
        assert pixels_of(out / "a.png").shape == (64, 64, 3)
        assert pixels_of(out / "deep er" / "ç.jpg").shape == (40, 64, 3)
        with Image.open(out / "a.png") as picture:
            assert parsed(picture.info["exif"])["make"] == "Testcam"
        details = json.loads(report.read_text(encoding="utf-8"))["images"][0]["details"]
        assert details["method"] == "latino"
        assert details["calls"] == 3
        assert details["damage"] == "bicubic shrinking by 4"
        assert len(details["residuals"]) == 1

    def test_a_result_too_large_for_its_format_is_known_before_the_work(
        self, tmp_path: Path
    ) -> None:
        Image.new("RGB", (16400, 1)).save(tmp_path / "long.jpg")
        result = run("solve", tmp_path / "long.jpg", tmp_path / "out", *SR, "--dry-run")
        assert "long.png" in result.output
        result = run("solve", tmp_path / "long.jpg", tmp_path / "one.jpg", *SR, "--dry-run")
        assert "65600" in two_lines(result)

    def test_a_second_run_does_only_what_is_missing(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert solve(photos, out, "--task", "gaussian-blur").exit_code == 0
        before = (out / "a.png").stat().st_mtime_ns
        (out / "deep er" / "ç.jpg").unlink()
        assert "1 solved, 1 already there" in solve(photos, out, "--task", "gaussian-blur").output
        assert (out / "a.png").stat().st_mtime_ns == before

    def test_bad_files_are_named_and_the_others_come_out(
        self, photos: Path, tmp_path: Path
    ) -> None:
        (photos / "broken.png").write_text("not a picture", encoding="utf-8")
        result = solve(photos, tmp_path / "out", "--task", "colorize")
        assert result.exit_code == 1
        assert "broken.png" in result.output
        assert "2 solved, 1 failed" in result.output

    def test_the_same_picture_gives_the_same_bytes_in_any_company(
        self, photos: Path, tmp_path: Path
    ) -> None:
        solve(photos, tmp_path / "all", "--task", "motion-blur", "--length", 7)
        solve(photos / "a.png", tmp_path / "one.png", "--task", "motion-blur", "--length", 7)
        together, alone = pixels_of(tmp_path / "all" / "a.png"), pixels_of(tmp_path / "one.png")
        assert np.array_equal(together, alone)

    def test_samples_differ_and_are_numbered(self, photos: Path, tmp_path: Path) -> None:
        result = solve(photos / "a.png", tmp_path / "out", *SR, "--samples", 2)
        assert result.exit_code == 0, result.output
        one, two = (pixels_of(tmp_path / "out" / f"a-{number}.png") for number in (1, 2))
        assert not np.array_equal(one, two)

    def test_a_dry_run_and_an_explanation_write_nothing(self, photos: Path, tmp_path: Path) -> None:
        result = run("solve", photos, tmp_path / "out", *SR, "--dry-run")
        assert result.output.count("solve ") == 2
        result = solve(photos, tmp_path / "out", *SR, "--explain", "--method", "spgd")
        assert result.exit_code == 0, result.output
        assert "damage: bicubic shrinking by 4, noise 0.01" in result.output
        assert "calls: at most 36 of the denoiser, 30 with a gradient" in result.output
        for word in ("prior: tiny", "memory: ", "time: about", "pictures: 2, in 2 tile(s)"):
            assert word in result.output
        assert not (tmp_path / "out").exists()

    def test_an_explanation_names_what_it_cannot_read(self, photos: Path, tmp_path: Path) -> None:
        for name in ("broken.png", "empty.png"):
            (photos / name).write_bytes(b"")
        output = solve(photos, tmp_path / "out", *SR, "--explain").output
        assert "pictures: 2, in 2 tile(s)" in output
        for name in ("broken.png", "empty.png"):
            assert f"left out: cannot read {photos / name}" in " ".join(output.split())

    def test_shards_share_the_work(self, photos: Path, tmp_path: Path) -> None:
        assert "1 solved" in solve(photos, tmp_path / "out", *SR, "--shard", "2/2").output
        assert not (tmp_path / "out" / "a.png").exists()

    @pytest.mark.parametrize("columns", ["40", "80"])
    def test_messages_fit_a_narrow_terminal(
        self, columns: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        assert "needs a point-spread function" in two_lines(
            solve(photos, tmp_path / "out", "--task", "kernel")
        )
        assert run("solve", "--help").exit_code == 0


class TestPictures:
    def test_depth_alpha_and_grey_are_kept(self, tmp_path: Path) -> None:
        folder, out = tmp_path / "in", tmp_path / "out"
        folder.mkdir()
        tifffile.imwrite(folder / "deep.tif", noise(16, 20, dtype=np.uint16))
        Image.fromarray(noise(16, 16, 4)).save(folder / "alpha.png")
        result = solve(folder, out, *SR, "--factor", 2)
        assert result.exit_code == 0, result.output
        deep = tifffile.imread(out / "deep.tif")
        assert (deep.shape, deep.dtype) == ((32, 40), np.uint16)
        assert pixels_of(out / "alpha.png").shape == (32, 32, 4)

    @pytest.mark.parametrize("task", ["super-resolution", "gaussian-blur", "colorize", "jpeg"])
    def test_one_pixel_is_solved(self, task: str, tmp_path: Path) -> None:
        Image.fromarray(noise(1, 1, 3)).save(tmp_path / "dot.png")
        result = solve(tmp_path / "dot.png", tmp_path / "out", "--task", task)
        assert result.exit_code == 0, result.output

    def test_grey_gets_colour(self, tmp_path: Path) -> None:
        Image.fromarray(noise(20, 24)).save(tmp_path / "grey.png")
        assert solve(tmp_path / "grey.png", tmp_path / "out", "--task", "colorize").exit_code == 0
        assert pixels_of(tmp_path / "out" / "grey.png").shape == (20, 24, 3)

    @pytest.mark.parametrize("method", ["dps", "dpps", "spgd"])
    def test_methods_with_gradients_run_in_bfloat16_too(
        self, method: str, photos: Path, tmp_path: Path
    ) -> None:
        result = run(
            *("solve", photos / "a.png", tmp_path / "out", "--task", "jpeg", "--dtype", "bf16"),
            *("--method", method, "--steps", 3, "--base", Prior.base, "--device", "cpu"),
        )
        assert result.exit_code == 0, result.output
        assert pixels_of(tmp_path / "out" / "a.png").shape == (64, 64, 3)

    @pytest.mark.slow
    def test_a_pixel_prior_solves(self, photos: Path, tmp_path: Path) -> None:
        place = save_pixel(tmp_path / "prior", adm=True)
        result = solve(photos, tmp_path / "out", *SR, "--pixel-prior", place, "--tile", 64)
        assert result.exit_code == 0, result.output
        assert "spgd" in result.output


class TestMasks:
    BOX = (20, 8, 26, 30)

    def test_outside_the_mask_every_bit_is_the_photograph_s(
        self, photos: Path, tmp_path: Path
    ) -> None:
        draw_mask(tmp_path / "masks" / "a.png", size=(64, 64), lost=self.BOX)
        draw_mask(tmp_path / "masks" / "deep er" / "ç.jpg.png", size=(64, 40), lost=self.BOX)
        draw_mask(tmp_path / "masks" / "deep er" / "ç.png", size=(1, 1), lost=(0, 0, 1, 1))
        result = solve(photos, tmp_path / "out", "--mask", tmp_path / "masks")
        assert result.exit_code == 0, result.output
        for name, written in (("a.png", "a.png"), ("deep er/ç.jpg", "deep er/ç.png")):
            before, after = pixels_of(photos / name), pixels_of(tmp_path / "out" / written)
            changed = (before != after).any(axis=2)
            left, top, right, bottom = self.BOX
            assert changed[top:bottom, left:right].mean() > 0.5
            changed[top:bottom, left:right] = False
            assert not changed.any()

    def test_one_mask_serves_all_and_16_bits_stay(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        for name in ("one", "two"):
            tifffile.imwrite(folder / f"{name}.tif", noise(24, 32, 3, dtype=np.uint16))
        draw_mask(tmp_path / "mask.png", size=(32, 24), lost=(4, 4, 9, 20))
        result = solve(folder, tmp_path / "out", "--mask", tmp_path / "mask.png")
        assert result.exit_code == 0, result.output
        for name in ("one", "two"):
            before, after = (
                tifffile.imread(place / f"{name}.tif") for place in (folder, tmp_path / "out")
            )
            assert after.dtype == np.uint16
            changed = (before != after).any(axis=2)
            assert changed[4:20, 4:9].any()
            changed[4:20, 4:9] = False
            assert not changed.any()

    def test_only_tiles_with_something_lost_are_sampled(self, tmp_path: Path) -> None:
        Image.fromarray(noise(64, 600, 3)).save(tmp_path / "wide.png")
        draw_mask(tmp_path / "mask.png", size=(600, 64), lost=(5, 5, 9, 9))
        report = tmp_path / "report.json"
        result = solve(
            *(tmp_path / "wide.png", tmp_path / "out", "--mask", tmp_path / "mask.png"),
            *("--tile", 64, "--overlap", 16, "--report", report),
        )
        assert result.exit_code == 0, result.output
        details = json.loads(report.read_text(encoding="utf-8"))["images"][0]["details"]
        assert details["tiles"] == 1
        assert details["calls"] == 3

    def test_a_photograph_without_anything_lost_comes_out_as_it_was(
        self, photos: Path, tmp_path: Path
    ) -> None:
        draw_mask(tmp_path / "mask.png", size=(64, 64), lost=(0, 0, 0, 0))
        result = solve(photos / "a.png", tmp_path / "out", "--mask", tmp_path / "mask.png")
        assert result.exit_code == 0, result.output
        assert np.array_equal(pixels_of(tmp_path / "out" / "a.png"), pixels_of(photos / "a.png"))

    def test_a_file_name_that_loses_something_is_pointed_out(
        self, photos: Path, tmp_path: Path
    ) -> None:
        draw_mask(tmp_path / "mask.png", size=(64, 64), lost=self.BOX)
        result = solve(photos / "a.png", tmp_path / "new.jpg", "--mask", tmp_path / "mask.png")
        assert result.exit_code == 0, result.output
        assert "new.jpg loses a little everywhere" in result.output

    def test_a_mask_of_another_size_or_none_fails_that_photograph_alone(
        self, photos: Path, tmp_path: Path
    ) -> None:
        draw_mask(tmp_path / "masks" / "a.png", size=(64, 63), lost=self.BOX)
        result = solve(photos, tmp_path / "out", "--mask", tmp_path / "masks")
        assert result.exit_code == 1
        said = " ".join(result.output.split())
        assert "has 64 x 63 pixels, but the photograph 64 x 64" in said
        assert "there is no mask for deep er/ç.jpg" in said
        assert "0 solved, 2 failed" in result.output

    def test_a_broken_mask_fails_its_photograph_alone(self, photos: Path, tmp_path: Path) -> None:
        draw_mask(tmp_path / "masks" / "deep er" / "ç.png", size=(64, 40), lost=self.BOX)
        (tmp_path / "masks" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
        result = solve(photos, tmp_path / "out", "--mask", tmp_path / "masks")
        assert result.exit_code == 1
        assert str(Path("masks", "a.png")) in "".join(result.output.split("\n"))
        assert "1 solved, 1 failed" in result.output


class TestSimulation:
    def test_a_photograph_is_cut_to_a_multiple_of_the_factor_and_its_partner_written(
        self, tmp_path: Path
    ) -> None:
        Image.fromarray(noise(21, 30, 3)).save(tmp_path / "odd.png")
        clean = tmp_path / "clean"
        result = run(
            *("solve", tmp_path / "odd.png", tmp_path / "small", "--simulate", *SR),
            *("--clean-dir", clean, "--report", tmp_path / "report.json"),
        )
        assert result.exit_code == 0, result.output
        assert pixels_of(tmp_path / "small" / "odd.png").shape == (5, 7, 3)
        assert pixels_of(clean / "odd.png").shape == (20, 28, 3)
        report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert report["images"][0]["details"]["cut_to"] == [20, 28]
        said = " ".join(result.output.split())
        assert "its first 28 x 20 pixels, because 4 does not divide 30 x 21" in said

    def test_noise_has_the_deviation_that_is_asked_for(self, tmp_path: Path) -> None:
        Image.new("RGB", (96, 96), (128, 128, 128)).save(tmp_path / "flat.png")
        run(
            *("solve", tmp_path / "flat.png", tmp_path / "y", "--simulate"),
            *("--task", "gaussian-blur", "--noise", 0.1),
        )
        found = pixels_of(tmp_path / "y" / "flat.png").astype(float)
        assert found.std() == pytest.approx(0.1 * 127.5, rel=0.05)
        assert found.mean() == pytest.approx(128, abs=0.5)

    def test_lost_pixels_are_black_and_the_same_are_known_when_solving(
        self, photos: Path, tmp_path: Path
    ) -> None:
        drop = ("--drop", 0.8, "--damage-seed", 4)
        assert run("solve", photos, tmp_path / "y", "--simulate", *drop).exit_code == 0
        y = pixels_of(tmp_path / "y" / "a.png")
        black = (y == 0).all(axis=2)
        assert 0.7 < black.mean() < 0.9
        assert solve(tmp_path / "y" / "a.png", tmp_path / "x", *drop).exit_code == 0
        assert np.array_equal(pixels_of(tmp_path / "x" / "a.png")[~black], y[~black])


class TestBadSettings:
    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (("--task", "inpaint"), "needs to know where"),
            (("--mask", "nowhere.png"), "there is no mask nowhere.png"),
            (("--task", "kernel"), "needs a point-spread function"),
            (("--task", "kernel", "--kernel", "gone.png"), "gone.png"),
            (("--task", "jpeg", "--method", "latino"), "needs the transpose"),
            (("--task", "gaussian-blur", "--kernel-size", "201", "--tile", "64"), "too small"),
        ],
    )
    def test_they_are_told_in_two_lines(
        self, arguments: tuple[str, ...], complaint: str, tmp_path: Path
    ) -> None:
        Image.fromarray(noise(80, 80, 3)).save(tmp_path / "a.png")
        result = solve(tmp_path / "a.png", tmp_path / "out", *arguments)
        if "--tile" in arguments:
            assert result.exit_code == 1
            assert complaint in result.output
        else:
            assert complaint in two_lines(result)

    def test_a_kernel_that_sums_to_nothing_is_refused(self, photos: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "psf.npy", np.zeros((3, 3)))
        result = solve(
            photos, tmp_path / "out", "--task", "kernel", "--kernel", tmp_path / "psf.npy"
        )
        assert "sums to 0" in two_lines(result)

    @pytest.mark.parametrize("name", ["psf.npy", "psf.png", "psf.tif"])
    def test_a_broken_kernel_is_named(self, name: str, photos: Path, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(b"II*\x00no kernel")
        result = solve(photos, tmp_path / "out", "--task", "kernel", "--kernel", tmp_path / name)
        assert name in two_lines(result)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--factor", "0"),
            ("--kernel-size", "4"),
            ("--noise", "-1"),
            ("--noise", "nan"),
            ("--steps", "0"),
            ("--momentum", "1"),
            ("--drop", "1.5"),
            ("--drop", "0.5", "--box", "4"),
            ("--scale", "inf"),
        ],
    )
    def test_numbers_out_of_range_are_named(self, arguments: tuple[str, ...]) -> None:
        result = run("solve", "a", "b", *arguments)
        assert result.exit_code == 2
        assert arguments[0] in " ".join(result.output.split())

    def test_half_precision_gradients_are_refused(self, photos: Path, tmp_path: Path) -> None:
        result = run(
            *("solve", photos, tmp_path / "out", *SR, "--method", "spgd", "--dtype", "fp16")
        )
        assert "float16" in two_lines(result)

    def test_clean_partners_need_a_simulation(self) -> None:
        assert run("solve", "a", "b", "--clean-dir", "c").exit_code == 2
