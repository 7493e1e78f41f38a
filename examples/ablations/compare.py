"""Train the embedded backbone in several ways for equally many updates, and print what each came to.

    python examples/ablations/compare.py TOPIC SHARDS_DIR OUT_DIR --validation PHOTOS_DIR [--steps 400] [--prior PRIOR_DIR]

SHARDS_DIR is what `examples/tiny/pack.py` wrote, PHOTOS_DIR holds photographs that are not in it; PRIOR_DIR is a diffusion prior,
unset the embedded one (`tiny-prior`). TOPIC is a question:

- prior: adversarial training of all weights from the diffusion prior, from the same network with a fresh denoiser (noise), and
  from that network after as many updates on absolute error (regressor): figures 3 to 5 of HYPIR (arXiv:2507.20590).
- rank: adapters of rank 16 and 64 against all weights, without an adversary.
- discriminator: heads on EfficientNet features, a head on patches, a U-Net on pixels, the first two together.
- decoder: patches side by side, patches that overlap, a path that enlarges, both; the grid score says which draws no grid.

Every arm is a run of `hypir train-gan` in OUT_DIR/TOPIC/ARM with the same seed, so all see the same pairs; killed, the same command goes
on. The first table has means over the last tenth of the updates, the others scores of centre crops of the photographs; summary.json
has both. sheet.png stacks the last samples: columns LQ, live, averaged, GT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

import hypir_cli

sys.path.append(str(Path(__file__).resolve().parents[1] / "tiny"))

from arms import RESULT, TOPICS, Arm, settings, start_of
from held_out import CROP, prepare, restored, scores
from summary import log_table, score_table, sheet, summarised

PRIOR = Path(hypir_cli.__file__).parent / "weights" / "tiny-prior"
"""The embedded prior."""


def main() -> None:
    """Parse, train arm after arm, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topic", choices=list(TOPICS))
    parser.add_argument("shards_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--prior", type=Path, default=PRIOR)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--crop", type=int, default=CROP, help="side of the crops that are scored")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    folder = arguments.out_dir / arguments.topic
    held_out = folder / "held-out"
    arms = {arm.name: arm for arm in TOPICS[arguments.topic]}
    for arm in arms.values():
        train(arm, folder, arguments)
    prepare(arguments.validation, held_out, crop=arguments.crop)
    for name, arm in arms.items():
        base = start_of(arm, folder, prior=arguments.prior)
        restored(name, held_out, base=base, weights=folder / name / RESULT)
    logs = {name: summarised(folder / name) for name in arms}
    judged = scores(list(arms), held_out)
    found = {"log": logs, "held_out": judged}
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sheet([folder / name for name in arms], folder / "sheet.png")
    print(log_table(logs))
    for preset, by_arm in judged.items():
        print(f"\n{score_table(by_arm, preset)}")


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
