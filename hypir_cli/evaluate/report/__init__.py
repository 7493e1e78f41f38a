"""Results for people and programs: JSON, CSV, Markdown, and pages that need neither server nor network."""

from hypir_cli.evaluate.report.study import check_study_place, write_study
from hypir_cli.evaluate.report.write import REPORT_SUFFIXES, check_report_path, write_report

__all__ = [
    "REPORT_SUFFIXES",
    "check_report_path",
    "check_study_place",
    "write_report",
    "write_study",
]
