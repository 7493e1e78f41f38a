"""Networks and their weights: backbones, adapters, frozen feature networks, checkpoints, the hub, devices and memory."""
