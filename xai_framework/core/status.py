"""The state of one stored map."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What a reader may do with a map. Only ``ok`` maps carry evidence."""

    ok = 0
    zero = 1  # all zeros: the method found no evidence; a legal result
    nonfinite = 2  # NaN or infinity in the map or in the model's outputs
    failed = 3  # the image could not be read or the method raised; the reason is stored
    not_applicable = 4  # the method has no meaning here; the reason is stored
