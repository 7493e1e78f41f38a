"""The examples for schedulers and launchers do what they say: each is run, or the command that it submits is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.commands import run
from tests.pictures import EXAMPLES, noise

SCRIPTS = EXAMPLES / "many_machines"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six images in three shards."""
    (tmp_path / "in").mkdir()
    for index in range(6):
        Image.fromarray(noise(8, 8, 3, seed=index)).save(tmp_path / "in" / f"{index}.png")
    place = tmp_path / "list.parquet"
    result = run("plan", tmp_path / "in", tmp_path / "out", "--manifest", place, "--shards-of", 2)
    assert result.exit_code == 0, result.output
    return place


def _bash(script: str, *arguments: object, tmp_path: Path, **environment: str) -> str:
    """What a script prints, its programs replaced by ones of `tmp_path/bin` and `hypir` by this checkout's."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name, module in {"hypir": "hypir_cli", "torchrun": "torch.distributed.run"}.items():
        _program(programs / name, f'exec "{sys.executable}" -m {module} "$@"')
    done = subprocess.run(
        ["bash", str(SCRIPTS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=240,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _program(path: Path, command: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{command}\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_a_task_of_a_slurm_array_takes_its_shards(manifest: Path, tmp_path: Path) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "3", "MANIFEST": str(manifest)}
    printed = _bash("slurm_array.sh", "--dry-run", tmp_path=tmp_path, **array)
    assert "2 to restore, 0 already there." in printed
    assert json.loads((tmp_path / "report.2-of-3.json").read_text())["summary"]["planned"] == 2


@pytest.mark.slow
def test_processes_of_torchrun_share_a_folder(manifest: Path, tmp_path: Path) -> None:
    printed = _bash(
        "torchrun.sh", tmp_path / "in", tmp_path / "out", 2, "--dry-run", tmp_path=tmp_path
    )
    assert printed.count("restore ") == 6


def test_a_job_of_an_aws_batch_array_takes_its_shards(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "bin" / "aws", 'printf "%s\\n" "$@"')
    names = {"MANIFEST": str(manifest), "QUEUE": "gpus", "DEFINITION": "hypir"}
    words = _bash("aws_batch_array.sh", tmp_path=tmp_path, **names).splitlines()
    assert words[words.index("--array-properties") + 1] == "size=100"
    command = json.loads(words[words.index("--container-overrides") + 1])["command"]
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "2")
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_SIZE", "100")
    result = run(*command[1:], "--dry-run")
    assert "AWS Batch array: this process takes part 3 of 100" in result.output
    assert "2 to restore, 0 already there." in result.output


def test_a_pod_of_a_kubernetes_job_takes_its_shards(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = yaml.safe_load((SCRIPTS / "kubernetes_job.yaml").read_text())["spec"]
    assert job["completionMode"] == "Indexed"
    container = job["template"]["spec"]["containers"][0]
    assert container["env"][0]["value"] == str(job["completions"])
    monkeypatch.setenv(container["env"][0]["name"], container["env"][0]["value"])
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "49")
    command = [str(manifest) if word.startswith("s3:") else word for word in container["args"]]
    result = run(*command[1:], "--dry-run")
    assert "Kubernetes indexed job: this process takes part 50 of 50" in result.output
    assert "0 to restore, 0 already there." in result.output


def test_a_ray_job_is_one_restore_command(manifest: Path, tmp_path: Path) -> None:
    _program(tmp_path / "bin" / "ray", 'printf "%s\\n" "$@"')
    names = {"MANIFEST": str(manifest), "RAY_ADDRESS": "http://head:8265"}
    words = _bash("ray_job.sh", tmp_path=tmp_path, **names).splitlines()
    assert json.loads(words[words.index("--runtime-env-json") + 1])["pip"] == ["hypir[ray]"]
    command = words[words.index("--") + 1 :]
    assert command[:2] == ["hypir", "restore"]
    result = run(*command[1:], "--dry-run")
    assert result.exit_code == 0, result.output
    assert "6 to restore, 0 already there." in result.output
