"""Which part of the work a process takes, from the environments that launchers and schedulers really make."""

from __future__ import annotations

import pytest
import torch

from hypir_cli.config.launcher import Launch, detect_launch
from hypir_cli.errors import ConfigError
from hypir_cli.models import device as runtime

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def torchrun(rank: int, world: int, *, local: int | None = None, per_machine: int | None = None):
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank if local is None else local),
        "LOCAL_WORLD_SIZE": str(world if per_machine is None else per_machine),
        "TORCHELASTIC_RUN_ID": "none",
        **MEETING,
    }


def srun(index: int, count: int, *, local: int = 0):
    return {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(index),
        "SLURM_NTASKS": str(count),
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_LOCALID": str(local),
    }


def slurm_array(task: int, *, first: int = 0, last: int = 3, step: int = 1, count: int = 4):
    prefix = "SLURM_ARRAY_TASK_"
    values = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {
        "SLURM_JOB_ID": "8",
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        **{prefix + name: str(value) for name, value in values.items()},
    }


def aws_batch(index: int, size: int):
    return {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": str(size)}


def kubernetes(index: int, count: int | None):
    found = {"JOB_COMPLETION_INDEX": str(index)}
    return found if count is None else {**found, "JOB_COMPLETIONS": str(count)}


@pytest.mark.parametrize(
    ("environ", "name", "index", "count", "local"),
    [
        ({}, "", 0, 1, 0),
        (torchrun(1, 4), "torchrun", 1, 4, 1),
        (torchrun(9, 16, local=1, per_machine=8), "torchrun", 9, 16, 1),
        ({**torchrun(1, 2), "ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch", 1, 2, 1),
        ({"RANK": "2", "WORLD_SIZE": "3", **MEETING}, "torchrun", 2, 3, 0),
        (srun(5, 8, local=1), "srun", 5, 8, 1),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, "", 0, 1, 0),
        ({**srun(0, 2), **torchrun(3, 4, local=1, per_machine=2)}, "torchrun", 3, 4, 1),
        (slurm_array(2), "Slurm array", 2, 4, 0),
        (slurm_array(9, first=1, last=9, step=4, count=3), "Slurm array", 2, 3, 0),
        ({**slurm_array(2), **srun(1, 3, local=1)}, "srun in Slurm array", 7, 12, 1),
        ({**slurm_array(3), **torchrun(1, 2)}, "torchrun in Slurm array", 7, 8, 1),
        (aws_batch(1, 10), "AWS Batch array", 1, 10, 0),
        ({**aws_batch(1, 3), **torchrun(1, 2)}, "torchrun in AWS Batch array", 3, 6, 1),
        (kubernetes(4, 5), "Kubernetes indexed job", 4, 5, 0),
        # Pods that meet number their processes together: the pod's own number adds nothing.
        ({**kubernetes(1, 2), **torchrun(3, 4, local=1, per_machine=2)}, "torchrun", 3, 4, 1),
        ({**kubernetes(1, None), **torchrun(3, 4, local=1, per_machine=2)}, "torchrun", 3, 4, 1),
    ],
)
def test_each_launcher_is_found_by_its_own_variables(environ, name, index, count, local):
    launch = detect_launch(environ)
    assert launch == Launch(name=name, index=index, count=count, local_index=local)


@pytest.mark.parametrize(
    "environs",
    [
        [torchrun(rank, 4) for rank in range(4)],
        [{**slurm_array(t), **srun(p, 3)} for t in range(4) for p in range(3)],
        [{**aws_batch(j, 3), **torchrun(r, 2)} for j in range(3) for r in range(2)],
        [
            {**kubernetes(pod, 2), **torchrun(2 * pod + r, 4, local=r, per_machine=2)}
            for pod in range(2)
            for r in range(2)
        ],
    ],
    ids=["torchrun", "srun in array", "torchrun in batch", "pods that meet"],
)
def test_the_parts_of_all_processes_are_every_part_once(environs):
    launches = [detect_launch(environ) for environ in environs]
    assert {launch.count for launch in launches} == {len(environs)}
    assert sorted(launch.index for launch in launches) == list(range(len(environs)))


@pytest.mark.parametrize(
    "environ",
    [{"RANK": "1", "WORLD_SIZE": "2"}, {"RANK": "3"}, {"WORLD_SIZE": "8", "LOCAL_RANK": "0"}],
)
def test_variables_left_over_in_a_shell_take_no_image_away(environ):
    launch = detect_launch(environ)
    assert (launch.index, launch.count, launch.local_index) == (0, 1, 0)
    for name in ("RANK", "WORLD_SIZE"):
        assert name not in environ or f"{name}={environ[name]}" in launch.warning
    assert "--shard" in launch.warning


def test_a_left_over_world_of_one_needs_no_warning():
    assert detect_launch({"RANK": "0", "WORLD_SIZE": "1"}) == Launch()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({**torchrun(0, 2), "RANK": "5"}, "WORLD_SIZE"),
        ({**torchrun(0, 2), "RANK": "x"}, "RANK=x"),
        ({**srun(0, 2), "SLURM_PROCID": "2"}, "SLURM_PROCID=2"),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "3"}, "AWS_BATCH_JOB_ARRAY_SIZE"),
        (kubernetes(3, None), "JOB_COMPLETIONS"),
        (slurm_array(9, first=1, last=9, count=3), "not numbered evenly"),
        (slurm_array(3, first=1, last=9, step=4, count=3), "not numbered evenly"),
    ],
)
def test_an_environment_that_does_not_say_the_part_is_an_error_with_a_way_out(environ, named):
    with pytest.raises(ConfigError, match=named) as caught:
        detect_launch(environ)
    assert "--shard" in caught.value.hint


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_process_of_a_launcher_takes_its_own_gpu(name):
    places = [runtime.pick_device(name, environ=torchrun(rank, 4)) for rank in range(4)]
    assert [place.index for place in places] == [0, 1, 2, 3]
    assert runtime.pick_device(name, environ=srun(5, 8, local=1)).index == 1
    assert runtime.pick_device(name, environ=torchrun(9, 16, local=1, per_machine=8)).index == 1


@pytest.mark.usefixtures("four_gpus")
def test_more_processes_than_gpus_share_them(monkeypatch):
    assert runtime.pick_device("auto", environ=torchrun(5, 8)).index == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert runtime.pick_device("auto", environ=torchrun(3, 4)).index == 0


@pytest.mark.usefixtures("four_gpus")
def test_a_gpu_named_by_its_number_is_taken_by_every_process():
    assert runtime.pick_device("cuda:2", environ=torchrun(1, 4)).index == 2


@pytest.mark.usefixtures("four_gpus")
def test_a_rank_left_over_in_a_shell_does_not_choose_the_gpu():
    assert runtime.pick_device("auto", environ={"LOCAL_RANK": "3", "RANK": "3"}).index is None


@pytest.mark.usefixtures("four_gpus")
def test_a_job_that_does_not_know_its_part_still_finds_its_gpu():
    assert runtime.pick_device("auto", environ=kubernetes(3, None)).index is None
