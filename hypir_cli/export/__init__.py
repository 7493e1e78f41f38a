"""Trained adapters for other programs: `run.export_lora` reads, reduces, casts and writes them."""
