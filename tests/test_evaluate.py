"""The evaluation engine: pairs, protocols, intervals, several methods, and what to do with bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypir_cli.config.evaluate import PROTOCOLS, EvaluateConfig, MeasureConfig, protocol_values
from hypir_cli.config.schema import resolve
from hypir_cli.errors import ConfigError, HypirError, InputError
from hypir_cli.evaluate import registry
from hypir_cli.evaluate.bootstrap import mean_interval, resampled_means
from hypir_cli.evaluate.pairing import images_by_key, pair, read_rgb
from hypir_cli.evaluate.provenance import commit, protocol_label
from hypir_cli.evaluate.registry import default_metrics, find_metric
from hypir_cli.evaluate.results import Evaluation, comparable, ranking
from hypir_cli.evaluate.run import Folders, evaluate
from hypir_cli.evaluate.speed import read_speed
from tests.eval_sets import NAMES, Sets, make_sets, save


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    return make_sets(tmp_path)


def config(*metrics: str, **measure: object) -> EvaluateConfig:
    return EvaluateConfig(metrics=metrics, measure=MeasureConfig(**measure))  # type: ignore[arg-type]


def measured(methods: Mapping[str, Path], settings: EvaluateConfig, **partners: Path) -> Evaluation:
    return evaluate(Folders(methods=methods, **partners), settings)


# Bootstrap


def test_resampled_means_of_zeros_and_ones_follow_the_binomial_distribution():
    values = np.array([1.0] * 6 + [0.0] * 14)
    means = resampled_means(values, resamples=40_000, seed=1)
    chances = [math.comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    found = [float(np.mean(np.isclose(means, k / 20))) for k in range(21)]
    assert np.abs(np.array(found) - chances).max() < 0.01


def test_the_interval_of_zeros_and_ones_is_the_binomial_one():
    # 20 draws with chance 0.3: the 2.5% quantile is 2 successes, the 97.5% quantile 10.
    values = np.array([1.0] * 6 + [0.0] * 14)
    interval = mean_interval(values, resamples=40_000, confidence=0.95, seed=0)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.3, 0.1, 0.5))


def test_equal_values_have_an_interval_without_width():
    interval = mean_interval(np.full(5, 7.0), resamples=100, confidence=0.95, seed=0)
    assert (interval.mean, interval.low, interval.high, interval.count) == (7.0, 7.0, 7.0, 5)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).normal(size=30)
    first, again, other = (
        mean_interval(values, resamples=500, confidence=0.9, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert first.low != other.low


def test_paired_differences_are_far_tighter_than_the_methods_themselves(sets):
    found = measured({"near": sets.near, "soft": sets.soft}, config("psnr"), gt=sets.gt)
    difference = found.differences["soft"]["psnr"]
    means = found.summary
    assert difference.mean == pytest.approx(means["soft"]["psnr"].mean - means["near"]["psnr"].mean)
    assert difference.high < 0


# Measuring


def test_figures_are_those_of_the_metric_on_each_pair(sets):
    from hypir_cli.pixels.metrics.fidelity import psnr

    found = measured({"soft": sets.soft}, config("psnr"), gt=sets.gt)
    for key in NAMES:
        expected = psnr(read_rgb(sets.soft / f"{key}.png"), read_rgb(sets.gt / f"{key}.png"))
        assert found.figures["soft"]["psnr"][key] == pytest.approx(float(expected))


def test_without_a_choice_every_metric_that_needs_no_download_is_measured(sets):
    assert default_metrics(gt=True, lq=False) == (
        "psnr",
        "ssim",
        "niqe",
        "color-shift",
        "texture-ratio",
        "grid-score",
    )
    assert default_metrics(gt=False, lq=True) == (
        "niqe",
        "color-shift-lq",
        "grid-score",
        "consistency",
    )
    assert default_metrics(gt=False, lq=False) == ("niqe", "grid-score")
    found = measured(
        {"soft": sets.soft},
        config("color-shift", "texture-ratio", "color-shift-lq", "consistency"),
        gt=sets.gt,
        lq=sets.lq,
    )
    row = {name: interval.mean for name, interval in found.summary["soft"].items()}
    assert row["texture-ratio"] > math.log(2)
    assert row["color-shift"] < 3
    assert row["color-shift-lq"] < 3
    assert row["consistency"] > 30


def test_equal_images_count_a_hundred_decibel_so_that_means_stay_finite(sets):
    found = measured({"same": sets.gt}, config("psnr"), gt=sets.gt)
    assert found.summary["same"]["psnr"].mean == 100.0


def test_border_and_luma_change_the_figures(sets):
    means = [
        measured({"soft": sets.soft}, settings, gt=sets.gt).summary["soft"]["psnr"].mean
        for settings in (
            config("psnr"),
            config("psnr", crop_border=8),
            config("psnr", color_space="y"),
        )
    ]
    assert len(set(means)) == 3


def test_best_and_second_best_follow_the_metrics_direction():
    means = {"a": 1.0, "b": 3.0, "c": 2.0}
    assert ranking(means, "higher") == ("b", "c", "a")
    assert ranking(means, "lower") == ("a", "c", "b")
    assert ranking({"half": 0.7, "near": 0.2, "thrice": 1.1}, "one") == ("near", "half", "thrice")


def test_a_ratio_far_above_one_and_one_far_below_do_not_average_to_the_best(sets, monkeypatch):
    ratios = {"soft": iter((2.05, 0.058, 1.0)), "near": iter((1.2, 0.9, 1.0))}
    monkeypatch.setattr(
        registry, "_texture_ratio", lambda restored, gt: next(ratios[current.pop(0)])
    )
    current = ["soft", "near"] * len(NAMES)
    found = evaluate(
        Folders(methods={"soft": sets.soft, "near": sets.near}, gt=sets.gt), config("texture-ratio")
    )
    assert found.ranks["texture-ratio"] == ("near", "soft")
    wanted = (math.log(2.05) - math.log(0.058)) / 3
    assert found.summary["soft"]["texture-ratio"].mean == pytest.approx(wanted)
    assert sorted(found.figures["soft"]["texture-ratio"].values()) == [0.058, 1.0, 2.05]


def test_a_flat_result_has_a_finite_ratio():
    even = comparable({"flat": {"texture-ratio": {"a": 0.0}}}, {"texture-ratio": "one"})
    assert even["flat"]["texture-ratio"]["a"] == pytest.approx(math.log(1e4))


def test_the_inputs_are_a_row_without_a_rank(sets):
    methods = {"soft": sets.soft, "near": sets.near, "before": sets.lq}
    for named in (methods, {key: methods[key] for key in ("soft", "near")}):
        found = evaluate(
            Folders(methods=named, gt=sets.gt, lq=sets.lq),
            config("psnr", "consistency", "color-shift-lq"),
        )
        assert found.methods == ("soft", "near")
        assert all(set(order) == {"soft", "near"} for order in found.ranks.values())
        assert found.baseline.name == ("before" if "before" in named else "input")
        assert set(found.baseline.summary) == {"psnr"}
        assert found.baseline.summary["psnr"].count == 3
        # The soft results are the enlarged inputs before these were stored as JPEG.
        assert abs(found.baseline.summary["psnr"].mean - found.summary["soft"]["psnr"].mean) < 3
        assert not found.problems


def test_inputs_alone_are_measured_as_a_method(sets):
    found = evaluate(Folders(methods={"all": sets.lq}, lq=sets.lq), config("consistency"))
    assert found.methods == ("all",)


def test_means_are_over_the_images_that_every_method_has_a_figure_for(sets):
    (sets.near / "cup.png").write_bytes(b"\x89PNG broken")
    found = measured({"soft": sets.soft, "near": sets.near}, config("psnr"), gt=sets.gt)
    assert found.summary["soft"]["psnr"].count == found.summary["near"]["psnr"].count == 2
    assert set(found.figures["soft"]["psnr"]) == set(NAMES)


# Protocols


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_documented_and_complete(name):
    settings = resolve(EvaluateConfig, layers=[(name, protocol_values(name))])
    assert settings.protocol == name
    assert settings.description
    assert settings.metrics
    assert protocol_label(settings) == name
    assert all(find_metric(metric).id == metric for metric in settings.metrics)


def test_a_changed_protocol_says_what_was_changed():
    layers = [("p", protocol_values("realsr-crop")), ("flag", {"measure.crop_border": 4})]
    assert (
        protocol_label(resolve(EvaluateConfig, layers=layers))
        == "realsr-crop, changed: crop_border"
    )
    assert protocol_label(EvaluateConfig()) == "custom"


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="paper-dev2k") as caught:
        protocol_values("paper-dev2k")
    assert "paper-div2k" in caught.value.hint


def test_the_commit_is_that_of_the_checkout_if_there_is_one():
    found = commit()
    root = Path(__file__).parents[1]
    assert (found is not None) == (root / ".git").exists()
    assert found is None or len(found.rstrip("+")) == 40


# Bad input


def test_an_unknown_metric_is_refused_with_the_nearest_names():
    with pytest.raises(ConfigError, match="no metric 'pnsr'") as caught:
        find_metric("pnsr")
    assert "psnr" in caught.value.hint
    assert "color-shift" in caught.value.hint
    assert "--list-metrics" in caught.value.hint


def test_deqa_is_refused_with_its_nearest_maintained_relative():
    with pytest.raises(ConfigError, match="no metric 'deqa'") as caught:
        find_metric("deqa")
    assert "qalign" in caught.value.hint


def test_without_pyiqa_a_learned_metric_says_what_to_install_and_the_others_run(sets, monkeypatch):
    monkeypatch.setattr("hypir_cli.evaluate.bridge.is_installed", lambda: False)
    with pytest.raises(HypirError, match="metric lpips: it needs the package pyiqa") as caught:
        measured({"soft": sets.soft}, config("lpips"), gt=sets.gt)
    assert "hypir[eval]" in caught.value.hint
    found = measured({"soft": sets.soft}, config("lpips", "psnr"), gt=sets.gt)
    assert "metric lpips" in found.problems[0].what
    assert [info.id for info in found.metrics] == ["psnr"]


def test_a_metric_whose_partner_was_not_given_is_refused(sets):
    with pytest.raises(ConfigError, match="psnr compares with GT, which was not given"):
        measured({"soft": sets.soft}, config("psnr"))


def test_a_missing_partner_is_named_and_the_rest_is_measured(sets):
    (sets.gt / "sub" / "spoon.png").unlink()
    found = measured({"soft": sets.soft}, config("psnr"), gt=sets.gt)
    assert found.summary["soft"]["psnr"].count == 2
    (problem,) = found.problems
    assert "spoon.png has no partner in" in problem.what
    assert str(sets.gt / "sub/spoon") in problem.hint


def test_folders_without_a_common_image_are_refused(sets, tmp_path):
    save(Image.new("RGB", (20, 20)), tmp_path / "other" / "else.png")
    with pytest.raises(InputError, match="has a partner in all of them"):
        pair({"soft": sets.soft}, gt=tmp_path / "other")


def test_an_empty_folder_is_named(sets, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image in .*empty"):
        measured({"soft": tmp_path / "empty"}, config("psnr"), gt=sets.gt)


def test_two_images_of_one_name_are_refused(sets):
    Image.new("RGB", (20, 20)).save(sets.soft / "cup.jpg")
    with pytest.raises(InputError, match=r"cup\.(jpg|png) and .*cup"):
        images_by_key(sets.soft)


def test_an_image_of_another_size_than_its_gt_is_named_and_the_rest_is_measured(sets):
    Image.new("RGB", (30, 20)).save(sets.soft / "cup.png")
    found = measured({"soft": sets.soft}, config("psnr"), gt=sets.gt)
    (problem,) = found.problems
    assert problem.what == f"{sets.soft / 'cup.png'}: it is 30x20, its GT 64x48."
    assert "--resize gt" in problem.hint
    assert found.summary["soft"]["psnr"].count == 2


def test_resizing_to_the_gt_is_a_choice(sets):
    for path in sets.soft.rglob("*.png"):
        image = Image.open(path)
        image.resize((image.width * 2, image.height * 2)).save(path)
    found = measured({"soft": sets.soft}, config("psnr", resize="gt"), gt=sets.gt)
    assert not found.problems
    assert found.summary["soft"]["psnr"].count == 3


def test_an_input_of_another_shape_is_named(sets):
    Image.new("RGB", (30, 10)).save(sets.lq / "cup.jpg")
    found = measured({"soft": sets.soft}, config("consistency"), lq=sets.lq)
    assert "its input 30x10: not the same shape" in found.problems[0].what


def test_a_broken_image_in_the_middle_is_named_and_the_rest_is_measured(sets):
    whole = (sets.soft / "portrait.png").read_bytes()
    (sets.soft / "portrait.png").write_bytes(whole[: len(whole) // 2])
    found = measured({"soft": sets.soft}, config("psnr"), gt=sets.gt)
    (problem,) = found.problems
    assert "portrait.png" in problem.what
    assert found.summary["soft"]["psnr"].count == 2


def test_a_metric_of_whole_sets_leaves_broken_images_out(sets, monkeypatch):
    info = registry.MetricInfo(
        id="fid", provider="x", better="lower", needs="gt", about="", per_image=False
    )
    seen = []

    def load(wanted, *_, **__):
        def score_set(restored, gt):
            seen.append([path.name for path in (*restored, *gt)])
            return 3.0

        return registry.Metric(info=wanted, score_set=score_set)

    monkeypatch.setattr(registry, "find_metric", lambda name: info)
    monkeypatch.setattr(registry, "load_metric", load)
    (sets.soft / "cup.png").write_bytes(b"no image")
    found = evaluate(Folders(methods={"soft": sets.soft}, gt=sets.gt), config("fid"))
    assert seen == [["portrait.png", "spoon.png"] * 2]
    assert found.summary["soft"]["fid"].count == 2
    assert "cup.png" in found.problems[0].what


def test_a_broken_gt_is_named_once(sets):
    (sets.gt / "cup.png").write_bytes(b"")
    found = measured({"soft": sets.soft, "near": sets.near}, config("psnr"), gt=sets.gt)
    (problem,) = found.problems
    assert str(sets.gt / "cup.png") in problem.what


def test_when_nothing_can_be_measured_the_first_reason_is_given(sets):
    for path in sets.soft.rglob("*.png"):
        Image.new("RGB", (30, 20)).save(path)
    with pytest.raises(InputError, match=r"nothing could be measured; the first: .*30x20"):
        measured({"soft": sets.soft}, config("psnr"), gt=sets.gt)


def test_an_image_too_small_for_a_metric_is_named_with_the_metric(sets):
    found = measured({"soft": sets.soft}, config("psnr", "niqe"), gt=sets.gt)
    assert "metric niqe: NIQE needs at least two blocks" in found.problems[0].what
    assert [info.id for info in found.metrics] == ["psnr"]


def test_a_metric_without_weights_is_listed_and_the_others_run(sets, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    find_metric("musiq")
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(tmp_path / "none"))
    found = measured({"soft": sets.soft}, config("musiq", "psnr"), gt=sets.gt)
    assert "metric musiq: its weights cannot be had" in found.problems[0].what
    assert [info.id for info in found.metrics] == ["psnr"]
    with pytest.raises(HypirError, match="no metric could be made; the first: metric musiq"):
        measured({"soft": sets.soft}, config("musiq"))


def test_a_border_that_leaves_nothing_is_named(sets):
    with pytest.raises(InputError, match="a border of 24 pixels leaves nothing"):
        measured({"soft": sets.soft}, config("psnr", crop_border=24), gt=sets.gt)


def test_two_single_files_are_a_pair_whatever_their_names(sets):
    found = measured({"one": sets.soft / "cup.png"}, config("psnr"), gt=sets.gt / "cup.png")
    assert found.pairing.keys == ("image",)


def test_grey_and_transparent_images_are_read_as_rgb(tmp_path):
    Image.new("L", (4, 3), 128).save(tmp_path / "grey.png")
    Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_rgb(tmp_path / "grey.png").shape == (1, 3, 3, 4)
    assert read_rgb(tmp_path / "clear.png").min() == 1.0


# Speed


def test_speed_is_read_from_the_report_of_restore(sets, tmp_path):
    path = tmp_path / "restore.json"
    records = [
        {
            "status": "done",
            "seconds": {"read": 0.5, "compute": 2.0, "write": 0.5},
            "details": {"peak_memory": 5},
        },
        {"status": "done", "seconds": {"compute": 4.0}, "details": {"peak_memory": 9}},
        {"status": "skipped", "seconds": {}, "details": {}},
    ]
    path.write_text(json.dumps({"images": records}))
    speed = read_speed(path)
    assert (speed.count, speed.compute_seconds, speed.total_seconds) == (2, 3.0, 3.5)
    assert speed.peak_memory_bytes == 9
    folders = Folders(methods={"soft": sets.soft}, gt=sets.gt, restore_reports={"soft": path})
    assert evaluate(folders, config("psnr")).speed["soft"] == speed


def test_a_file_that_is_no_restore_report_is_refused(tmp_path):
    path = tmp_path / "restore.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="is not a report of hypir restore"):
        read_speed(path)
    path.write_text('{"images": []}')
    with pytest.raises(InputError, match="records no restored image"):
        read_speed(path)
