"""`python -m hypir_cli`: the same program as `hypir`."""

from __future__ import annotations

from hypir_cli.cli.app import main

if __name__ == "__main__":
    main()
