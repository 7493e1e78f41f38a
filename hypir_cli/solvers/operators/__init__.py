"""Known damage as operators: what a measurement makes of an image, its transpose, its inverse and its proximal step."""

from hypir_cli.solvers.operators.base import (
    HasAdjoint,
    HasDagger,
    HasGuess,
    HasProx,
    LinearOperator,
    Operator,
    conjugate_prox,
    num_measured,
)
from hypir_cli.solvers.operators.blur import Blur
from hypir_cli.solvers.operators.compression import Jpeg
from hypir_cli.solvers.operators.downsampling import Downsampling
from hypir_cli.solvers.operators.grey import Grey
from hypir_cli.solvers.operators.inpainting import Inpainting, box_kept, random_kept
from hypir_cli.solvers.operators.window import Windowed

__all__ = [
    "Blur",
    "Downsampling",
    "Grey",
    "HasAdjoint",
    "HasDagger",
    "HasGuess",
    "HasProx",
    "Inpainting",
    "Jpeg",
    "LinearOperator",
    "Operator",
    "Windowed",
    "box_kept",
    "conjugate_prox",
    "num_measured",
    "random_kept",
]
