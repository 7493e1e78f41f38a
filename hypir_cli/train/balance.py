"""Watches how the losses share the gradient at the restored image, and says when one drowns the others."""

from __future__ import annotations

from collections.abc import Mapping

DROWNED = 100.0
"""Factor between two losses' mean gradient norms from which the smaller has no say."""
AFTER = 100
"""Batches that are averaged before anything is said."""
_PREFIX = "grad/"


class Balance:
    """Mean gradient norm of each loss over the first batches of a run."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, scalars: Mapping[str, float]) -> str:
        """Take in one batch.

        Args:
            scalars: `grad/NAME` for each loss; others are ignored.

        Returns:
            A warning with what to change, once, when one loss drowns another; else empty.
        """
        norms = {k.removeprefix(_PREFIX): v for k, v in scalars.items() if k.startswith(_PREFIX)}
        if self._count >= AFTER or not norms:
            return ""
        self._count += 1
        for name, norm in norms.items():
            self._sums[name] = self._sums.get(name, 0.0) + norm
        return self._verdict() if self._count == AFTER else ""

    def _verdict(self) -> str:
        large = max(self._sums, key=self._sums.__getitem__)
        small = min(self._sums, key=self._sums.__getitem__)
        low, high = self._sums[small], self._sums[large]
        if high <= DROWNED * low:
            return ""
        factor = f"{high / low:.0f} times" if low > 0 else "infinitely"
        return (
            f"the gradient of the {large} loss is {factor} that of the {small} loss at the image, which has no say then: "
            f"lower loss.{large} or raise loss.{small}"
        )
