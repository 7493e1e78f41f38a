"""From a folder of photographs to the weights that come with the package, in stages that can be stopped at any moment.

    python examples/tiny/train.py PHOTOS_DIR OUT_DIR --validation TEST_PHOTOS_DIR [--minutes 10] [--stages vae prior]

Stages, each a run of the project's own training loop in OUT_DIR/<stage>: the autoencoder (`vae`) and the diffusion prior
(`prior`) by `run_stage.py`, the encoder by `hypir train-encoder`, the adapters by `hypir train-gan` (`fidelity`,
`adversarial`, `polish`). The same command goes on where the last one stopped. What is done is kept; OUT_DIR/weights is
the result, a folder for `hypir restore --backbone tiny --base OUT_DIR/weights`.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from new_backbone import new_backbone
from pack import pack
from prior_stages import put_into
from run_stage import INTERRUPTED

from hypir_cli.config.schema import load_yaml
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.checkpoint import load_tensors
from hypir_cli.models.encoder import load_encoder
from hypir_cli.models.lora import read_lora
from hypir_cli.models.weights import apply_lora
from hypir_cli.pixels.texture import TexturePredictor

RECIPE = Path(__file__).parent / "recipe"
STAGES = ("vae", "prior", "encoder", "fidelity", "adversarial", "polish")
ADAPTER_STAGES = STAGES[3:]
RESULTS = {
    "vae": "network.safetensors",
    "prior": "network.safetensors",
    "encoder": "encoder.safetensors",
    "fidelity": "ema.safetensors",
    "adversarial": "ema.safetensors",
    "polish": "ema.safetensors",
}


def main() -> None:
    """Parse, run the stages that are left, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--validation", type=Path, help="photographs that are only looked at")
    parser.add_argument("--captions", type=Path, help="CSV with a column `label` or `caption`")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--squares", type=int, default=2400, help="squares to pack")
    parser.add_argument("--processes", type=int, default=1, help="of all stages but the first two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    end = time.monotonic() + 60.0 * arguments.minutes
    prepare(arguments)
    for stage in arguments.stages:
        if not run(stage, arguments, end=end):
            print(f"stopped in the stage {stage}; the same command goes on from here")
            raise SystemExit(INTERRUPTED)
    missing = [stage for stage in STAGES[:4] if not (arguments.out_dir / stage / "done").exists()]
    if missing:
        print(f"still to train: {', '.join(missing)}")
        return
    assemble(arguments.out_dir).save(arguments.out_dir / "weights")
    print(f"wrote {arguments.out_dir / 'weights'}")


def prepare(arguments: argparse.Namespace) -> None:
    """Shards and the untrained backbone, unless they are there."""
    out_dir: Path = arguments.out_dir
    if not shards_of(out_dir):
        pack(arguments.photos_dir, out_dir / "shards", count=arguments.squares, seed=arguments.seed)
    if not (out_dir / "start" / "tokenizer" / "tokenizer.json").exists():
        backbone = new_backbone(
            shards_of(out_dir), captions=arguments.captions, seed=arguments.seed
        )
        backbone.save(out_dir / "start", dtype=torch.float32)


def run(stage: str, arguments: argparse.Namespace, *, end: float) -> bool:
    """Train a stage to its end; False when the time was over before."""
    out_dir: Path = arguments.out_dir
    if (out_dir / stage / "done").exists():
        return True
    settings = write_settings(stage, arguments)
    if stage in ("vae", "prior"):
        command = [sys.executable, str(Path(__file__).parent / "run_stage.py"), stage]
        command += [str(settings), "--base", str(base_of(stage, out_dir))]
        command += ["--out", str(out_dir / stage)]
    else:
        name = "train-encoder" if stage == "encoder" else "train-gan"
        command = [sys.executable, *launcher(arguments.processes), "-m", "hypir_cli", name]
        command += [str(settings), "--resume", "auto", "--out", str(out_dir / stage)]
    for assignment in arguments.assignments:
        command += ["--set", assignment]
    code = wait(subprocess.Popen(command), end=end)
    if code == INTERRUPTED:
        return False
    if code:
        raise SystemExit(code)
    (out_dir / stage / "done").touch()
    return True


def launcher(processes: int) -> list[str]:
    """What starts several processes; on a CPU two with a thread each do more than one with two."""
    if processes == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]


def wait(process: subprocess.Popen[bytes], *, end: float) -> int:
    """The exit code, INTERRUPTED where it was asked to leave; when the time is over, or this process is told to end, the other
    is asked to save and leave."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, ask)
    try:
        code = process.wait(
            timeout=None if end == float("inf") else max(1.0, end - time.monotonic())
        )
    except subprocess.TimeoutExpired:
        ask()
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    # A launcher of several processes ends with 1, however well they saved.
    return INTERRUPTED if asked and code else code


def write_settings(stage: str, arguments: argparse.Namespace) -> Path:
    """The stage's settings file in OUT_DIR: what all stages share, the stage's recipe, and where things are."""
    out_dir: Path = arguments.out_dir
    values = merged(load_yaml(RECIPE / "shared.yaml"), load_yaml(RECIPE / f"{stage}.yaml"))
    places: dict = {
        "seed": arguments.seed,
        "data": {"sources": [str(path) for path in shards_of(out_dir)]},
    }
    if arguments.validation is not None:
        places["validation"] = {"sources": [str(arguments.validation)]}
    if stage not in ("vae", "prior"):
        places["model"] = {"base": str(base_of(stage, out_dir))}
    if stage in ADAPTER_STAGES:
        places["model"]["encoder"] = str(out_dir / "encoder" / RESULTS["encoder"])
    if stage in ADAPTER_STAGES[1:]:
        before = ADAPTER_STAGES[ADAPTER_STAGES.index(stage) - 1]
        places["lora"] = {"start": str(out_dir / before / RESULTS[before])}
    path = out_dir / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(merged(values, places)), encoding="utf-8")
    return path


def base_of(stage: str, out_dir: Path) -> Path:
    """The folder of the backbone that a stage starts from; written from the stages before it when it is not there."""
    if stage == "vae":
        return out_dir / "start"
    # The encoder needs only the autoencoder, so it can train beside the prior on another core or machine.
    kinds = ("vae",) if stage in ("prior", "encoder") else ("vae", "prior")
    folder = out_dir / f"after-{kinds[-1]}"
    if not (folder / "tokenizer" / "tokenizer.json").exists():
        backbone = TinyBackbone.load(out_dir / "start")
        for kind in kinds:
            put_into(backbone, load_tensors(out_dir / kind / RESULTS[kind])[0], kind=kind)
        backbone.save(folder, dtype=torch.float32)
    return folder


def assemble(out_dir: Path) -> TinyBackbone:
    """The backbone with encoder, adapters, controls and predictor of the newest stage that has left a result."""
    backbone = TinyBackbone.load(base_of("adversarial", out_dir))
    load_encoder(backbone, out_dir / "encoder" / RESULTS["encoder"])
    for stage in reversed(ADAPTER_STAGES):
        path = out_dir / stage / RESULTS[stage]
        if path.exists():
            state = read_lora(path)
            apply_lora(backbone, state)
            backbone.texture_predictor = TexturePredictor.from_tensors(state.predictor)
            assert backbone.control_embedding is not None
            # So small a model answers a high texture with hatching; `hypir restore` meets it by the strength of fine detail.
            backbone.control_embedding.ignore_texture()
            break
    return backbone


def shards_of(out_dir: Path) -> list[Path]:
    """The packed data."""
    return sorted((out_dir / "shards").glob("*.tar"))


def merged(low: dict, high: dict) -> dict:
    """Nested settings, the second on top."""
    both = dict(low)
    for key, value in high.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


if __name__ == "__main__":
    main()
