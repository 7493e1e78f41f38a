"""Every setting and its default: one frozen dataclass per command. Nothing here imports torch."""
