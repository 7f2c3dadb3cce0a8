"""Finding the layer that ``last`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_framework.core.errors import LayerError

if TYPE_CHECKING:
    from xai_framework.core.adapter import ModelAdapter
