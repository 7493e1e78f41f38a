"""Pages that need neither server nor network: templates, embedded pictures, and before/after sliders."""

from hypir_cli.folder.pages.comparison import ComparisonRow, write_comparison_page

__all__ = ["ComparisonRow", "write_comparison_page"]
