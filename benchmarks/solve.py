"""The methods of `hypir solve` beside each other on the embedded prior: what `docs/samplers.md` shows.

    python benchmarks/solve.py PHOTOS --out-dir runs/solve

Centre crops of each photograph are measured (`hypir solve --simulate`) and solved by every method with as many calls of the network;
beside them stand the pseudo-inverse and `hypir restore`. Photographs are done one after the other, what is done is kept in
OUT_DIR/results.json, and a later run goes on from there; the table holds the photographs that are complete.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers_sets import as_tensor, cut
from PIL import Image
from solve_table import bars, table, write_sheet

from hypir_cli.config.evaluate import MeasureConfig
from hypir_cli.config.restore import RestoreConfig, RuntimeConfig, SizeConfig
from hypir_cli.config.solve import DamageConfig, SamplingConfig, SolveConfig, SpgdConfig
from hypir_cli.evaluate.registry import find_metric, load_metric
from hypir_cli.images import READABLE_SUFFIXES, ImageData, quantize
from hypir_cli.restore.engine import Engine
from hypir_cli.solvers.damage import Damage
from hypir_cli.solvers.operators import LinearOperator, num_measured
from hypir_cli.solvers.prior_loading import LoadedPrior, load_prior
from hypir_cli.solvers.simulate import Simulator
from hypir_cli.solvers.solver import Solver
from hypir_cli.train.data.photos import read_photo

NOISE = 0.01
TASKS = {
    "x4": DamageConfig(task="super-resolution", factor=4),
    "gaussian": DamageConfig(task="gaussian-blur"),
    "motion": DamageConfig(task="motion-blur"),
    "random": DamageConfig(task="inpaint", drop=0.8),
    "box": DamageConfig(task="inpaint", box=64),
}
METRICS = ("psnr", "ssim", "stlpips-vgg")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One photograph under one kind of damage."""

    task: str
    """Name of the damage."""
    clean: np.ndarray
    """The crop, (H, W, 3) uint8."""
    measured: np.ndarray
    """What is known of it, (h, w, 3) uint8."""


def samplings(calls: int) -> dict[str, SamplingConfig]:
    """Settings by arm: each calls the network `calls` times per picture, fewer where SPGD stops early."""
    usual = SamplingConfig(noise=NOISE, seed=0)
    warm = usual.spgd.warmup

    def spgd(levels: int, **changed: Any) -> SamplingConfig:
        settings: SpgdConfig = replace(usual.spgd, **changed)
        return replace(usual, method="spgd", steps=max(1, levels), spgd=settings)

    return {
        "dps": replace(usual, method="dps", steps=calls),
        "dpps": replace(usual, method="dpps", steps=calls),
        "spgd": spgd(calls // (warm + 1)),
        "spgd, no momentum": spgd(calls // (warm + 1), momentum=0.0),
        "spgd, no warm-up": spgd(calls // 2, warmup=1),
        "latino": replace(usual, method="latino", steps=calls),
    }


class Bench:
    """All arms, and what measures them."""

    def __init__(self, options: argparse.Namespace) -> None:
        runtime = RuntimeConfig(device=options.device, dtype=options.dtype)
        self.runtime = runtime
        self.prior: LoadedPrior = load_prior(SolveConfig().prior, runtime, method="dps")
        self.restorer = Engine.load(RestoreConfig(runtime=runtime)).model
        self.samplings = samplings(options.calls)
        self._metrics = {
            name: load_metric(
                find_metric(name), MeasureConfig(), device=torch.device("cpu"), timeout=0.0
            )
            for name in METRICS
        }

    @property
    def arms(self) -> tuple[str, ...]:
        """In the order of the table."""
        return (*self.samplings, "A_dagger", "hypir restore")

    def run(self, arm: str, case: Case) -> tuple[Row, np.ndarray]:
        """Figures and the picture."""
        start = time.perf_counter()
        picture, calls = self._picture(arm, case)
        seconds = time.perf_counter() - start
        pair = as_tensor(picture), as_tensor(case.clean)
        row: Row = {"task": case.task, "arm": arm, "seconds": seconds, "calls": calls}
        for name, metric in self._metrics.items():
            assert metric.score is not None
            row[name] = float(metric.score(*pair))
        row["residual"] = residual(case, picture)
        return row, picture

    def _picture(self, arm: str, case: Case) -> tuple[np.ndarray, int]:
        damage, image = TASKS[case.task], ImageData(pixels=case.measured)
        if arm == "A_dagger":
            return pseudo_inverse(case), 0
        if arm == "hypir restore":
            size = SizeConfig(scale=damage.factor if case.task == "x4" else 1)
            config = RestoreConfig(runtime=self.runtime, size=size)
            return Engine(self.restorer, config=config).restore(image).samples[0], 1
        config = SolveConfig(damage=damage, sampling=self.samplings[arm], runtime=self.runtime)
        outcome = Solver(self.prior, config=config).solve(image)
        return outcome.samples[0], outcome.calls


def operator_of(case: Case) -> LinearOperator:
    """The damage of a case."""
    operator = Damage(TASKS[case.task]).operator(case.clean.shape[:2])
    assert isinstance(operator, LinearOperator)
    return operator


def in_measured_terms(case: Case) -> torch.Tensor:
    """y for images in -1..1, from its 8-bit picture."""
    operator = operator_of(case)
    ones = torch.ones(1, 3, *case.clean.shape[:2])
    return 2.0 * as_tensor(case.measured) - operator.A(ones)


def pseudo_inverse(case: Case) -> np.ndarray:
    """A_dagger(y) as an 8-bit picture; what is lost is grey."""
    found = operator_of(case).A_dagger(in_measured_terms(case))
    return quantize(((found[0] + 1.0) / 2.0).permute(1, 2, 0).numpy(), 8)


def residual(case: Case, picture: np.ndarray) -> float:
    """||A x - y|| / (noise * root of the numbers measured), of the written picture."""
    operator, y = operator_of(case), in_measured_terms(case)
    error = operator.A(2.0 * as_tensor(picture) - 1.0) - y
    return float(error.norm()) / (NOISE * num_measured(operator, y) ** 0.5)


def cases(photo: np.ndarray) -> list[Case]:
    """A photograph under every kind of damage."""
    made = []
    for task, damage in TASKS.items():
        measured = Simulator(Damage(damage), noise=NOISE).measure(ImageData(pixels=photo))
        made.append(Case(task=task, clean=photo, measured=measured.pixels))
    return made


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> list[Row]:
    """All figures; those of earlier runs are kept."""
    options.out_dir.mkdir(parents=True, exist_ok=True)
    memory = options.out_dir / "results.json"
    rows: list[Row] = json.loads(memory.read_text())["rows"] if memory.exists() else []
    done = {(row["photo"], row["task"], row["arm"]) for row in rows}
    bench = Bench(options)
    files = sorted(f for f in options.photos.iterdir() if f.suffix.lower() in READABLE_SUFFIXES)
    for file in files[: options.count]:
        photo = cut(read_photo(file, name=file.name), side=options.crop, multiple=4)
        for case in cases(photo):
            keep(options.out_dir, file.stem, case.task, "clean", case.clean)
            keep(options.out_dir, file.stem, case.task, "measured", case.measured)
            for arm in bench.arms:
                if (file.stem, case.task, arm) in done:
                    continue
                row, picture = bench.run(arm, case)
                rows.append({"photo": file.stem, **row})
                keep(options.out_dir, file.stem, case.task, arm, picture)
                content = {"calls": options.calls, "dtype": options.dtype, "rows": rows}
                memory.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
                say(f"{file.stem} {case.task} {arm}: {row['psnr']:.2f} dB, {row['seconds']:.1f} s")
    return rows


def keep(folder: Path, photo: str, task: str, arm: str, picture: np.ndarray) -> None:
    """Write a picture where the sheet looks for it."""
    place = folder / "pictures" / f"{photo} {task} {arm}.png"
    place.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(place)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print the table and the bars, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out-dir", type=Path, default=Path("runs/solve"))
    parser.add_argument("--crop", type=int, default=256, help="side of the centre crops, px")
    parser.add_argument("--count", type=int, help="only the first so many photographs")
    parser.add_argument("--calls", type=int, default=48, help="calls of the network per picture")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32", help="fp32 or bf16; bf16 is faster on some CPUs")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args(arguments)
    if options.table:
        rows = json.loads((options.out_dir / "results.json").read_text())["rows"]
    else:
        rows = run(options, lambda text: print(text, flush=True))
    print(table(rows, metrics=METRICS))
    print(bars(rows))
    print(write_sheet(options.out_dir, rows))


if __name__ == "__main__":
    main()
