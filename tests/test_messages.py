"""What commands say on stderr with every extra installed: their own words and nobody else's."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from hypir_cli.cli import messages
from hypir_cli.cli.app import COMMANDS

LOUD = """
import sys
from hypir_cli.cli.app import app, load_command
try:
    app([{command!r}, "--help"])
except SystemExit as end:
    assert end.code == 0
import bitsandbytes, torchao.quantization, diffusers.loaders.peft, peft, transformers, accelerate
from diffusers import AutoencoderKL, FluxTransformer2DModel, StableDiffusionPipeline
from transformers import AutoProcessor, CLIPTextModel, T5EncoderModel
"""
"""A command, and then all that the heaviest of them imports."""


def stderr_of(command: str, **environ: str) -> str:
    code = LOUD.format(command=command)
    environment = {**os.environ, **environ}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "restore",
        *(pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS if name != "restore"),
    ],
)
def test_libraries_that_comment_on_each_other_are_not_heard(command):
    assert stderr_of(command) == ""


def test_debugging_lets_them_speak():
    assert stderr_of("info", HYPIR_DEBUG="1") != ""


def test_followers_leave_warnings_to_the_first_process_and_keep_errors(capsys):
    messages.console_logging()
    logger = logging.getLogger("hypir_cli.somewhere")
    logger.warning("everybody would say this")
    messages.quiet_followers(0)
    logger.warning("so does the first")
    messages.quiet_followers(3)
    logger.warning("never twice")
    logger.error("but this is a failure")
    heard = capsys.readouterr().err
    assert "everybody would say this" in heard
    assert "so does the first" in heard
    assert "never twice" not in heard
    assert "but this is a failure" in heard
