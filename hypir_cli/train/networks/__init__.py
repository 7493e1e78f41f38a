"""What is trained against: discriminators, losses and teachers."""
