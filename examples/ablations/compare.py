"""Train the embedded backbone in several ways for equally many updates, and print what each came to.

    python examples/ablations/compare.py prior SHARDS_DIR OUT_DIR --validation PHOTOS_DIR --prior PRIOR_DIR [--steps 1500]
    python examples/ablations/compare.py rank SHARDS_DIR OUT_DIR --validation PHOTOS_DIR --prior PRIOR_DIR
    python examples/ablations/compare.py discriminator SHARDS_DIR OUT_DIR --validation PHOTOS_DIR --prior PRIOR_DIR

SHARDS_DIR is what `examples/tiny/pack.py` wrote; PRIOR_DIR the backbone after the stage `prior` of `examples/tiny/train.py`
(OUT_DIR/after-prior there). Questions:

- prior: adversarial training of all weights from the diffusion prior, from the same network with a fresh denoiser (noise), and
  from that network after as many updates on absolute error (regressor): figures 3 to 5 of HYPIR (arXiv:2507.20590).
- rank: adapters of rank 16 and 64 against all weights, without an adversary.
- discriminator: heads on EfficientNet features, a U-Net on pixels, both.

Every arm is a run of `hypir train-gan` in OUT_DIR/TOPIC/ARM with the same seed, so all see the same pairs; killed, the same command goes
on. The table and summary.json have means over the last tenth of the updates; sheet.png stacks the last samples: columns LQ, live,
averaged, GT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml
from arms import TOPICS, Arm, settings, start_of
from summary import sheet, summarised, table


def main() -> None:
    """Parse, train arm after arm, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topic", choices=list(TOPICS))
    parser.add_argument("shards_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--prior", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    folder = arguments.out_dir / arguments.topic
    for arm in TOPICS[arguments.topic]:
        train(arm, folder, arguments)
    results = {arm.name: summarised(folder / arm.name) for arm in TOPICS[arguments.topic]}
    (folder / "summary.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sheet([folder / name for name in results], folder / "sheet.png")
    print(table(results))


def train(arm: Arm, folder: Path, arguments: argparse.Namespace) -> None:
    """Run one arm to its end, what it starts from first."""
    if arm.before is not None:
        train(arm.before, folder, arguments)
    base = start_of(arm, folder, prior=arguments.prior)
    values = settings(
        arm,
        base=base,
        out_dir=folder / arm.name,
        shards=sorted(arguments.shards_dir.glob("*.tar")),
        validation=arguments.validation,
        steps=arguments.steps,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{arm.name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    command = [sys.executable, "-m", "hypir_cli", "train-gan", str(path), "--resume", "auto"]
    for assignment in arguments.assignments:
        command += ["--set", assignment]
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
