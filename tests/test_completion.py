"""What the shell offers for values of options."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.evaluate import PROTOCOLS
from hypir_cli.config.families import BUILT_IN


def offered(line: str) -> list[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    environment = {
        "_HYPIR_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    return CliRunner().invoke(app, [], env=environment, prog_name="hypir").stdout.split()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("hypir restore --backbone ", BUILT_IN),
        ("hypir restore --backbone sd", ("sd2", "sdxl", "sd3", "sd35")),
        ("hypir solve --backbone f", ("flux", "flux2")),
        ("hypir info --backbone t", ("tiny",)),
        ("hypir fetch sdx", ("sdxl",)),
        ("hypir restore --preset enl", ("enlarge-x2", "enlarge-x4")),
        ("hypir degrade --preset ph", ("photo-print", "phone")),
        ("hypir restore --profile ", ("auto", "laptop", "12gb", "24gb", "max")),
        ("hypir restore --format t", ("tiff",)),
        ("hypir restore --texture a", ("auto",)),
        ("hypir restore --vae s", ("small",)),
        ("hypir restore --device c", ("cpu", "cuda")),
        ("hypir caption --captioner l", ("llava",)),
        ("hypir export-lora --format k", ("kohya",)),
        ("hypir eval --protocol ", PROTOCOLS),
        ("hypir eval --metrics ps", ("psnr",)),
        ("hypir eval --metrics psnr,ss", ("psnr,ssim",)),
        ("hypir eval --metrics psnr,ps", ()),
        ("hypir train-gan --print-config ti", ("tiny",)),
        ("hypir train-encoder --resume ", ("auto",)),
    ],
)
def test_values_are_completed(line: str, values: tuple[str, ...]) -> None:
    assert offered(line) == list(values)
