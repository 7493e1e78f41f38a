"""Train from Python, with a callback of your own: python examples/train_in_python.py PHOTOS_DIR OUT_DIR."""

from __future__ import annotations

import sys

from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.train.report import Observer, StepReport
from hypir_cli.train.runs import train_gan


def show(report: StepReport) -> None:
    real, fake = report.scalars["logits/real"], report.scalars["logits/fake"]
    print(f"{report.step}/{report.total_steps}: real {real:.2f}, fake {fake:.2f}")


photos, out = sys.argv[1:]
values = {"preset": "tiny", "output_dir": out, "data.sources": [photos], "schedule.first.steps": 20}
config = train_config(TrainGanConfig, [("this script", values)], command="gan")
print(train_gan(config, resume="auto", observer=Observer(on_step=show)).result)
