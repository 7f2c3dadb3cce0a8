"""The whole plugin API: abstract interfaces and small value types.

Names are loaded on first use, so that importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai_framework.core.adapter import Layer as Layer
    from xai_framework.core.adapter import ModelAdapter as ModelAdapter
    from xai_framework.core.adapter import Prepared as Prepared
    from xai_framework.core.adapter import keep_grid as keep_grid
    from xai_framework.core.dataset import Box as Box
    from xai_framework.core.dataset import Dataset as Dataset
    from xai_framework.core.dataset import Item as Item
    from xai_framework.core.dataset import Label as Label
    from xai_framework.core.dataset import Region as Region
    from xai_framework.core.dataset import Row as Row
    from xai_framework.core.dataset import content_hash as content_hash
    from xai_framework.core.edits import Bounds as Bounds
    from xai_framework.core.edits import Boxes as Boxes
    from xai_framework.core.edits import Channels as Channels
    from xai_framework.core.edits import Edits as Edits
    from xai_framework.core.edits import Local as Local
    from xai_framework.core.edits import Masks as Masks
    from xai_framework.core.errors import ConfigError as ConfigError
    from xai_framework.core.errors import ImageError as ImageError
    from xai_framework.core.errors import LayerError as LayerError
    from xai_framework.core.errors import ModelError as ModelError
    from xai_framework.core.errors import NotApplicable as NotApplicable
    from xai_framework.core.errors import PluginError as PluginError
    from xai_framework.core.errors import StoreError as StoreError
    from xai_framework.core.errors import TargetError as TargetError
    from xai_framework.core.errors import WeightsError as WeightsError
    from xai_framework.core.errors import XaiError as XaiError
    from xai_framework.core.errors import did_you_mean as did_you_mean
    from xai_framework.core.executor import Executor as Executor
    from xai_framework.core.explainer import Ask as Ask
    from xai_framework.core.explainer import Explainer as Explainer
    from xai_framework.core.explainer import Moments as Moments
    from xai_framework.core.explainer import Sampled as Sampled
    from xai_framework.core.explainer import Shape as Shape
    from xai_framework.core.explainer import asks_of_draws as asks_of_draws
    from xai_framework.core.gaussian import blur as blur
    from xai_framework.core.geometry import Geometry as Geometry
    from xai_framework.core.images import open_image as open_image
    from xai_framework.core.maps import Interpolation as Interpolation
    from xai_framework.core.maps import Reduction as Reduction
    from xai_framework.core.maps import reduce_channels as reduce_channels
    from xai_framework.core.maps import resize as resize
    from xai_framework.core.maps import status_of as status_of
    from xai_framework.core.metric import Case as Case
    from xai_framework.core.metric import Metric as Metric
    from xai_framework.core.metric import Sign as Sign
    from xai_framework.core.metric import ranked as ranked
    from xai_framework.core.params import File as File
    from xai_framework.core.params import Param as Param
    from xai_framework.core.params import param as param
    from xai_framework.core.params import params_of as params_of
    from xai_framework.core.paths import PICTURES as PICTURES
    from xai_framework.core.paths import instead_of as instead_of
    from xai_framework.core.plugin import Plugin as Plugin
    from xai_framework.core.preprocess import Filter as Filter
    from xai_framework.core.preprocess import Preprocess as Preprocess
    from xai_framework.core.probe import Baseline as Baseline
    from xai_framework.core.probe import Call as Call
    from xai_framework.core.probe import Probe as Probe
    from xai_framework.core.probe import Rng as Rng
    from xai_framework.core.renderer import Renderer as Renderer
    from xai_framework.core.renderer import Scale as Scale
    from xai_framework.core.renderer import flat as flat
    from xai_framework.core.rule import PLAIN as PLAIN
    from xai_framework.core.rule import Rule as Rule
    from xai_framework.core.status import Status as Status
    from xai_framework.core.target import About as About
    from xai_framework.core.target import ClassTarget as ClassTarget
    from xai_framework.core.target import Score as Score
    from xai_framework.core.target import ScoredTarget as ScoredTarget
    from xai_framework.core.target import Target as Target
    from xai_framework.core.target import check_classes as check_classes
    from xai_framework.core.weights import load_weights as load_weights

_HOMES = {
    "adapter": "Layer ModelAdapter Prepared keep_grid",
    "gaussian": "blur",
    "dataset": "Box Dataset Item Label Region Row content_hash",
    "edits": "Bounds Boxes Channels Edits Local Masks",
    "errors": "ConfigError ImageError LayerError ModelError NotApplicable PluginError StoreError TargetError "
    "WeightsError XaiError did_you_mean",
    "executor": "Executor",
    "explainer": "Ask Explainer Moments Sampled Shape asks_of_draws",
    "geometry": "Geometry",
    "images": "open_image",
    "maps": "Interpolation Reduction reduce_channels resize status_of",
    "metric": "Case Metric Sign ranked",
    "params": "File Param param params_of",
    "paths": "PICTURES instead_of",
    "plugin": "Plugin",
    "preprocess": "Filter Preprocess",
    "probe": "Baseline Call Probe Rng",
    "renderer": "Renderer Scale flat",
    "rule": "PLAIN Rule",
    "status": "Status",
    "target": "About ClassTarget Score Target ScoredTarget check_classes",
    "weights": "load_weights",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
