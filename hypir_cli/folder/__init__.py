"""A folder of images around a one-image restoration: find, name, resume, read, write, shard and report."""

from hypir_cli.folder.events import Event
from hypir_cli.folder.jobs import Job, make_jobs
from hypir_cli.folder.pipeline import Restored, RestoreOne
from hypir_cli.folder.report import FolderReport, Record
from hypir_cli.folder.run import run_folder
from hypir_cli.folder.scan import Findings, Found, find_images
from hypir_cli.folder.shard import Shard, parse_shard

__all__ = [
    "Event",
    "Findings",
    "FolderReport",
    "Found",
    "Job",
    "Record",
    "RestoreOne",
    "Restored",
    "Shard",
    "find_images",
    "make_jobs",
    "parse_shard",
    "run_folder",
]
