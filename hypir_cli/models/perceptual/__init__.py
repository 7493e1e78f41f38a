"""Frozen networks that images are looked at through: features for discriminators, perceptual losses and scores."""
