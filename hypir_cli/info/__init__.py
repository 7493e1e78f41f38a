"""What a checkpoint is, what this machine has, and what a training run did."""
