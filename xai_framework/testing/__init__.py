"""The conformance kit: what every plugin promises, as checks that its author can run.

>>> from xai_framework.testing import check_explainer
>>> check_explainer(MyMethod)                                       # doctest: +SKIP

A check that fails raises AssertionError naming the plugin, the check and what was found.
"""

from __future__ import annotations

from xai_framework.testing.adapters import check_adapter
from xai_framework.testing.explainers import check_explainer
from xai_framework.testing.metrics import check_metric
from xai_framework.testing.models import TinyAdapter, tiny_models
from xai_framework.testing.renderers import check_renderer

__all__ = ["TinyAdapter", "check_adapter", "check_explainer", "check_metric", "check_renderer", "tiny_models"]
