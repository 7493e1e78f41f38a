"""Training data: sources, crops, order, degraded pairs and what feeds them to the networks."""
