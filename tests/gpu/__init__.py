"""The same tests on this machine's CPU and, with `-m gpu`, on its GPU; the CPU's results are the yardstick."""
