"""Weights files: whole or not at all, with their facts, and refused with a reason."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from hypir_cli.errors import CheckpointError
from hypir_cli.models import checkpoint
from hypir_cli.models.checkpoint import (
    CheckpointInfo,
    load_tensors,
    read_header,
    read_info,
    require_match,
    require_tensors,
    save_tensors,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.ones(4, dtype=torch.bfloat16)}
INFO = CheckpointInfo(
    backbone="sd2", timestep=200, lora_rank=4, lora_alpha=4.0, lora_targets=("to_k", "conv")
)


def test_tensors_and_facts_come_back_as_they_were(tmp_path):
    path = tmp_path / "deep" / "x.safetensors"
    save_tensors(path, TENSORS, info=INFO)
    tensors, info = load_tensors(path)
    assert info == INFO == read_info(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[key], value) for key, value in TENSORS.items())
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "x.safetensors", TENSORS, info=INFO)
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_foreign_safetensors_have_no_facts_of_ours(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"made by": "another"})
    tensors, info = load_tensors(tmp_path / "x.safetensors")
    assert info is None
    assert set(tensors) == {"a", "b.c"}
    assert read_header(tmp_path / "x.safetensors") == {"made by": "another"}
    assert read_info(tmp_path / "x.safetensors") is None


@pytest.mark.parametrize("wrapper", [None, "state_dict", "module"])
def test_pickles_of_tensors_are_read(tmp_path, wrapper):
    torch.save(TENSORS if wrapper is None else {wrapper: TENSORS}, tmp_path / "x.pth")
    tensors, info = load_tensors(tmp_path / "x.pth")
    assert info is None
    assert torch.equal(tensors["a"], TENSORS["a"])
    assert read_info(tmp_path / "x.pth") is None
    assert read_header(tmp_path / "x.pth") == {}


class Unwanted:
    """Code that a weights file has no business to bring."""


@pytest.mark.parametrize("content", [Unwanted(), {"a": [1, 2]}, [torch.ones(1)]])
def test_a_pickle_of_anything_else_is_refused_without_running_it(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        load_tensors(tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("kept", [0, 1, 40, 0.5])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, name, kept):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(TENSORS, path)
    else:
        save_tensors(path, TENSORS, info=INFO)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=name):
        load_tensors(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no weights file"):
        load_tensors(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        read_info(tmp_path / "x.safetensors")


def test_a_failed_write_keeps_the_old_file_and_leaves_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, info=INFO)
    before = path.read_bytes()

    def full_disk(*_args: object, **_options: object) -> None:
        (tmp_path / f".x.safetensors.{checkpoint.os.getpid()}.tmp").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_tensors(path, {"a": torch.zeros(1)}, info=INFO)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def write_header(path, text):
    save_file({"a": torch.ones(1)}, path, metadata={checkpoint.HEADER_KEY: text})


def test_a_file_of_a_newer_format_asks_for_an_upgrade(tmp_path):
    values = {"format_version": checkpoint.FORMAT_VERSION + 1}
    write_header(tmp_path / "x.safetensors", json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        load_tensors(tmp_path / "x.safetensors")
    assert "upgrade" in caught.value.hint


def test_facts_that_are_not_known_yet_are_passed_over(tmp_path):
    write_header(tmp_path / "x.safetensors", json.dumps({"backbone": "sd2", "colour": "blue"}))
    info = read_info(tmp_path / "x.safetensors")
    assert info is not None
    assert info.backbone == "sd2"


def test_a_damaged_header_is_an_error(tmp_path):
    write_header(tmp_path / "x.safetensors", "{not json")
    with pytest.raises(CheckpointError, match="damaged"):
        read_info(tmp_path / "x.safetensors")


def test_a_file_of_another_kind_or_backbone_is_refused():
    require_match(None, kind="lora", backbone="sd2", source="x")
    require_match(CheckpointInfo(), kind="lora", backbone="sd2", source="x")
    require_match(INFO, kind="lora", backbone="sd2", source="x")
    with pytest.raises(CheckpointError, match="holds lora weights"):
        require_match(INFO, kind="encoder", backbone="sd2", source="x")
    with pytest.raises(
        CheckpointError, match="trained for the backbone sd2, not for flux"
    ) as caught:
        require_match(INFO, kind="lora", backbone="flux", source="x")
    assert "--backbone sd2" in caught.value.hint


def test_a_misfit_lists_the_first_few_of_each_kind():
    wanted = {f"key{number}": torch.zeros(2) for number in range(6)}
    found = {"key0": torch.zeros(3), "other": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        require_tensors(found, wanted, source="file.safetensors", target="UNet")
    message = caught.value.message
    assert "file.safetensors does not fit this UNet" in message
    assert "5 missing (key1, key2, key3, ...)" in message
    assert "1 unexpected (other)" in message
    assert "key0: file (3,), model (2,)" in message
