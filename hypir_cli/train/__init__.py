"""Training: data, degradation, losses, discriminator, EMA, the loop, and the two stages."""
