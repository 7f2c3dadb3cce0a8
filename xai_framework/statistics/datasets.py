"""What tells a run's datasets apart, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai_framework.store import StoredMaps, StoredValues


def dataset_key(stored: StoredMaps | StoredValues) -> str:
    """The same for values of the same images in the same order."""
    return repr(stored.facts.get("dataset")) + stored.path.name


def dataset_captions(measures: Sequence[StoredMaps | StoredValues]) -> dict[str, str]:
    """:func:`dataset_key` -> what is said of the dataset, as ``objects=4``; empty where the run has only one."""
    configs: dict[str, Mapping[str, Any]] = {}
    for stored in measures:
        facts = stored.facts.get("dataset")
        configs.setdefault(dataset_key(stored), facts if isinstance(facts, Mapping) else {})
    keys = list(dict.fromkeys(k for config in configs.values() for k in config))
    differing = [k for k in keys if len({repr(config.get(k)) for config in configs.values()}) > 1]
    return {
        key: ", ".join(str(config[k]) if k == "name" else f"{k}={config[k]}" for k in differing if k in config)
        for key, config in configs.items()
    }
