"""The type of arrays, apart from the other values so that these do not import NumPy."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
