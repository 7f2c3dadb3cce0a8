"""What a composed configuration becomes: checked, plain, and free of Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from xai_framework.core.errors import ConfigError
from xai_framework.core.params import param
from xai_framework.core.plugin import Plugin


@dataclass(frozen=True)
class Settings(Plugin):
    """The plain settings of a study, checked like any plugin's parameters."""

    kind: ClassVar[str] = "settings"

    study: str = param("default", doc="name of the result folder below outputs/runs")
    seed: int = param(0, ge=0, le=2**63 - 1, doc="seed of everything random")
    space: Literal["model", "pixels"] = param("model", doc="what attributions are with respect to")
    untrained: bool = param(
        False, doc="explain the same architecture with new random weights, for the targets of the trained one"
    )
    device: str = param("cpu", doc="cpu, cuda, cuda:1, mps")
    precision: Literal["float32", "float64", "bfloat16", "auto"] = param(
        "float32", doc="type of the network's numbers; auto: bfloat16 where a method's maps stay the same"
    )
    threads: int = param(1, ge=1, le=1024, doc="processor threads; one each is fastest where several runs share cores")
    batch: int | None = param(None, ge=1, le=4096, doc="images in one pass; null: by their size")
    unit: int = param(32, ge=1, le=4096, doc="images computed and stored together")
    outputs: str = param("outputs", doc="folder for results")
    controls: tuple[str, ...] | None = param(
        ("random", "edge", "centre"),
        doc="methods that know nothing of the model, computed beside the chosen ones where metrics are; null: none",
    )
    on_error: Literal["skip", "stop"] = param(
        "skip", doc="when a map fails: store it as failed with its reason and go on, or stop the run"
    )
    max_failures: float | None = param(
        None, ge=0, le=1, doc="stop the run when more than this share of its maps has failed; null: never"
    )
    retry_failed: bool = param(False, doc="compute again what is stored as failed")
    report: bool = param(True, doc="write the page")
    scale: Literal["map", "saturated", "method"] = param(
        "saturated", doc="colours: each map its own scale, the same with its largest values saturated, or one a method"
    )

    def __post_init__(self) -> None:
        """A study's name is a folder's name."""
        super().__post_init__()
        plain = all(c.isalnum() or c in "-_.+=" for c in self.study) and not self.study.startswith(".")
        if not plain or len(self.study) > 100 or not self.study:
            raise ConfigError(
                f"{self.study!r} cannot be a folder's name", where="study", fix="use letters, digits, - and _"
            )


@dataclass(frozen=True)
class Job:
    """One composed configuration: one backbone, dataset and target, any number of methods and metrics by label.

    ``controls`` are the labels of methods that nobody chose: those that the setting adds to a study with metrics.
    ``decided``: the precision of the settings was not asked for, but decided on, where ``auto`` was asked for.

    Plugin configurations are canonical: ``name`` and every parameter. ``config_yaml`` is the configuration as written,
    with interpolations unresolved, so that no secret of the environment is stored.
    """

    backbone: Mapping[str, Any]
    dataset: Mapping[str, Any]
    target: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    renderer: Mapping[str, Any]
    executor: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    settings: Settings
    config_yaml: str
    controls: tuple[str, ...] = ()
    decided: bool = False
