"""The bars `peers.py` measures against, and its result as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peers_controls import FOLLOW_FACTOR, GENERATIVITIES, PREDICT_FACTOR, TEXTURES
from peers_scores import METRICS, Scores
from peers_sets import CLEAN

GIGABYTE = 1e9
_HEADS = {
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "stlpips-vgg": "ST-LPIPS",
    "niqe": "NIQE",
    "texture-ratio": "texture / GT",
    "grid-score": "grid",
}
_DIGITS = {"psnr": 2, "ssim": 3, "stlpips-vgg": 3, "niqe": 2, "texture-ratio": 2, "grid-score": 2}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One thing asked of the embedded backbone."""

    what: str
    """In words."""
    preset: str
    """Preset it is about; empty for speed and memory."""
    bound: float | None
    """What is asked; None only shows the figure."""
    at_least: bool
    """Whether more is better."""
    reached: float | None
    """What was measured; None where a peer is missing."""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where nothing can be said."""
        if self.bound is None or self.reached is None:
            return None
        return self.reached >= self.bound if self.at_least else self.reached <= self.bound


def compare(means: Mapping[str, Mapping[str, Scores]], speed: Any, memory: Any) -> list[Bar]:
    """Every bar.

    Args:
        means: Mean scores by preset and arm.
        speed: From `measure_speed`; None where it was not measured.
        memory: From `measure_memory`; None where it was not measured.
    """

    def bar(
        what: str, preset: str, bound: float | None, at_least: bool, reached: float | None
    ) -> None:
        if not preset or preset in means:
            bars.append(
                Bar(what=what, preset=preset, bound=bound, at_least=at_least, reached=reached)
            )

    def figure(preset: str, arm: str, metric: str) -> float | None:
        return means.get(preset, {}).get(arm, {}).get(metric)

    def gain(preset: str, other: str, metric: str) -> float | None:
        ours, theirs = figure(preset, "ours", metric), figure(preset, other, metric)
        return None if ours is None or theirs is None else ours - theirs

    def ratio(preset: str, other: str, metric: str) -> float | None:
        ours, theirs = figure(preset, "ours", metric), figure(preset, other, metric)
        return None if ours is None or not theirs else ours / theirs

    bars: list[Bar] = []
    light, large = "light", "realesrgan"
    bar("PSNR over input, dB", light, 2.2, True, gain(light, "input", "psnr"))
    bar("ST-LPIPS / input", light, 0.55, False, ratio(light, "input", "stlpips-vgg"))
    bar("ST-LPIPS / bicubic", large, 0.72, False, ratio(large, "bicubic", "stlpips-vgg"))
    bar("ST-LPIPS - realesrgan", large, None, False, gain(large, "realesrgan", "stlpips-vgg"))
    bar("PSNR - realesrgan, dB", large, 0.0, True, gain(large, "realesrgan", "psnr"))
    bar("texture / GT, at least", large, 0.5, True, figure(large, "ours", "texture-ratio"))
    bar("texture / GT, at most", large, 1.3, False, figure(large, "ours", "texture-ratio"))
    bar("NIQE / bicubic", large, 0.65, False, ratio(large, "bicubic", "niqe"))
    bar("NIQE / realesrgan", large, None, False, ratio(large, "realesrgan", "niqe"))
    for preset in (light, large):
        bar("grid score", preset, 1.3, False, figure(preset, "ours", "grid-score"))
    bar("PSNR of clean photographs, dB", CLEAN, 40.0, True, figure(CLEAN, "ours", "psnr"))
    if speed:
        bar("seconds for 512x512 / realesrgan", "", 0.05, False, speed["ratio"])
    if memory:
        bar("peak memory for 512x512, GB", "", 1.0, False, memory["above"] / GIGABYTE)
    return bars


def markdown(result: Mapping[str, Any], bars: Sequence[Bar]) -> str:
    """All tables."""
    lines: list[str] = []
    for part in result["sets"]:
        lines += [*_means(part), "", *_photos(part), ""]
    lines += [*_bars(bars), ""]
    if result["speed"]:
        lines += [*_speed(result["speed"], result["memory"]), ""]
    for preset, controls in result["controls"].items():
        lines += [*_controls(preset, controls["summary"]), ""]
    return "\n".join(lines).rstrip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _means(part: Mapping[str, Any]) -> Iterator[str]:
    yield f"Preset {part['preset']}, x{part['scale']}, mean of {len(part['photos'])} photographs:"
    yield ""
    rows = [
        [arm, *(_number(scores[metric], _DIGITS[metric]) for metric in METRICS)]
        for arm, scores in part["means"].items()
    ]
    blank = [""] * (len(METRICS) - 1)
    rows += [[arm, reason, *blank] for arm, reason in part["unavailable"].items()]
    yield from _table(["arm", *(_HEADS[metric] for metric in METRICS)], rows)


def _photos(part: Mapping[str, Any]) -> Iterator[str]:
    yield f"Preset {part['preset']}, PSNR dB / ST-LPIPS of each photograph:"
    yield ""
    arms = list(part["scores"])
    rows = []
    for name in part["photos"]:
        scores = [part["scores"][arm][name] for arm in arms]
        pairs = [f"{_number(s['psnr'], 2)} / {_number(s['stlpips-vgg'], 3)}" for s in scores]
        rows.append([name, *pairs])
    yield from _table(["photograph", *arms], rows)


def _bars(bars: Sequence[Bar]) -> Iterator[str]:
    rows = []
    for bar in bars:
        sign = ">=" if bar.at_least else "<="
        bound = "" if bar.bound is None else f"{sign} {bar.bound:.2f}"
        met = {None: "", True: "yes", False: "no"}[bar.met]
        rows.append([bar.preset or "-", bar.what, bound, _number(bar.reached, 3), met])
    yield from _table(["preset", "ours", "bar", "reached", "met"], rows)


def _speed(speed: Mapping[str, Any], memory: Mapping[str, int]) -> Iterator[str]:
    rows = []
    for arm in ("ours", "realesrgan"):
        taken = speed[arm]
        figures = [f"{taken['min']:.2f}", f"{taken['median']:.2f}"] if taken else ["-", "-"]
        peak = f"{memory['peak'] / 1e6:.0f} MB, " if arm == "ours" else ""
        peak += f"{memory['above'] / 1e6:.0f} MB over torch alone" if arm == "ours" else ""
        rows.append([arm, *figures, peak])
    head = ["512x512 result", "seconds, least", "median", "peak memory"]
    yield from _table(head, rows)


def _controls(preset: str, summary: Mapping[str, Any]) -> Iterator[str]:
    count = summary["photos"]
    texture = summary["texture_mean"]
    asked = ", ".join(f"{value:.0f}" for value in TEXTURES)
    shares = ", ".join(f"{value:g}" for value in GENERATIVITIES)
    rows = [
        [f"--texture {asked}: result's texture rises", f"{summary['texture_rises']} of {count}"],
        [
            "mean of the result's texture there",
            ", ".join(f"{value:.0f}" for value in texture) if texture else "not trained",
        ],
        [
            f"asked for GT's texture: within a factor {FOLLOW_FACTOR:g}",
            f"{summary['texture_at_gt']} of {count}",
        ],
        [
            f"auto prediction within a factor {PREDICT_FACTOR:g} of GT's",
            f"{summary['predicted_near_gt']} of {count}",
        ],
        [
            f"--generativity {shares}: mean PSNR, dB",
            _steps(summary["generativity_psnr"], 2, summary["generativity_psnr_falls"], "falls"),
        ],
        [
            "mean texture there",
            _steps(
                summary["generativity_texture"], 0, summary["generativity_texture_rises"], "rises"
            ),
        ],
        [
            "seeds 0 and 1 at generativity 0.5: mean difference, levels",
            f"{summary['seed_difference']:.2f}",
        ],
        ["seeds 0 and 1 at generativity 0: identical", f"{summary['same_at_zero']} of {count}"],
    ]
    yield from _table([f"controls, preset {preset}", "ours"], rows)


def _steps(values: Sequence[float], digits: int, monotone: bool, verb: str) -> str:
    text = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{text} ({verb} at every step)" if monotone else f"{text} (not monotone)"
