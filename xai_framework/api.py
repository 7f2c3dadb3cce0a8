"""Explaining pictures from Python, in memory, with any backbone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from xai_framework.attempt import Task
from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.dataset import Dataset, Item
from xai_framework.core.errors import ConfigError
from xai_framework.core.explainer import Explainer
from xai_framework.core.images import open_image
from xai_framework.core.plugin import Plugin
from xai_framework.core.preprocess import Preprocess
from xai_framework.core.renderer import Renderer, Scale
from xai_framework.core.sheet import sheet
from xai_framework.core.status import Status
from xai_framework.core.target import Target
from xai_framework.engine import Engine
from xai_framework.registry import Registry
from xai_framework.space import in_space
from xai_framework.store import Block

Picture = str | Path | Image.Image | NDArray[Any]
PluginLike = str | Mapping[str, Any] | Plugin
PluginT = TypeVar("PluginT", bound=Plugin)
DEFAULT_METHODS = ("gradient", "smoothgrad", "gradcam", "occlusion")


@dataclass(frozen=True)
class ModuleAdapter(ModelAdapter):
    """A plain ``nn.Module`` as a backbone. Not a plugin: it lives in Python only."""

    module: nn.Module
    how: Preprocess
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Nothing to check: these are objects, not config values."""

    def load(self) -> nn.Module:
        """The module as it is."""
        return self.module

    @property
    def model(self) -> nn.Module:
        """The module itself; its training flag is the user's and stays."""
        return self.module

    def with_model(self, model: nn.Module) -> ModuleAdapter:
        """The same preprocessing around another module."""
        return ModuleAdapter(model, self.how, self.names)

    @property
    def preprocess(self) -> Preprocess:
        """As given."""
        return self.how

    @property
    def labels(self) -> tuple[str, ...]:
        """As given."""
        return self.names


@dataclass(frozen=True)
class _Given(Dataset):
    """The pictures handed to :func:`explain`."""

    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        """Items are objects, not config values."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


@dataclass
class _Memory:
    """Keeps the one block of a cell instead of writing it."""

    blocks: list[Block] = field(default_factory=list)

    def write(self, block: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> None:
        self.blocks.append(block)


class Explanation(Mapping[str, NDArray[np.float32]]):
    """Raw maps by method label: ``result["gradcam"]`` is (C,h,w), or (N,C,h,w) for a list of pictures.

    ``target``, ``prediction`` and ``probability`` tell what was explained; ``status`` what became of each map. Shows
    itself in a notebook; ``save`` writes .png, .npz or .html by the name's ending.
    """

    def __init__(self, blocks: dict[str, Block], photographs: list[Image.Image | None], single: bool) -> None:
        self._blocks, self.photographs, self._single = blocks, photographs, single
        block = next(iter(blocks.values()))
        self.ids = block.ids
        self.target, self.prediction = block.target_name, block.prediction_name
        self.probability = block.prediction_probability

    def __getitem__(self, label: str) -> NDArray[np.float32]:
        maps = self._blocks[label].attribution
        return maps[0] if self._single else maps

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def status(self) -> dict[str, tuple[Status, ...]]:
        """Label -> the status of each picture's map."""
        return {label: tuple(Status(int(s)) for s in b.status) for label, b in self._blocks.items()}

    @property
    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Label -> why a map failed or does not apply, empty where it is fine."""
        return {label: b.reason for label, b in self._blocks.items()}

    def picture(self, renderer: PluginLike = "overlay", size: int = 224) -> Image.Image:
        """Photographs and maps side by side, one row a picture."""
        drawer = _plugin(Registry(), "renderer", renderer, Renderer)
        rows = [self._row(i, drawer, size) for i in range(len(self.ids))]
        return sheet(rows, columns=["photograph", *self])

    def _row(self, i: int, drawer: Renderer, size: int) -> list[Image.Image]:
        photograph = (self.photographs[i] or Image.new("RGB", (size, size), "lightgray")).resize((size, size))
        row = [photograph]
        for block in self._blocks.values():
            attribution = block.attribution[i]
            scale = Scale.of(attribution, percentile=99.5)  # a few extreme pixels would make all others pale
            row.append(drawer.render(photograph, attribution, scale, Status(int(block.status[i]))))
        return row

    def save(self, path: str | Path) -> Path:
        """Write a picture (.png, .jpg, .webp), the raw arrays (.npz) or a page (.html)."""
        path = Path(path)
        if path.suffix == ".npz":
            facts = {"id": np.array(self.ids), "target": np.array(self.target)}
            np.savez(path, **{label: b.attribution for label, b in self._blocks.items()}, **facts)  # type: ignore[arg-type]
        elif path.suffix == ".html":
            page = f'<!doctype html><meta charset="utf-8"><title>Explanation</title>{self._repr_html_()}'
            path.write_text(page, "utf-8")
        elif path.suffix in (".png", ".jpg", ".jpeg", ".webp"):
            self.picture().save(path)
        else:
            raise ConfigError(f"cannot save as {path.suffix!r}", where=str(path), fix="use .png, .npz or .html")
        return path

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k} {self[k].shape}" for k in self)
        return f"Explanation({len(self.ids)} picture(s); {shapes})"

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.picture().save(buffer, "PNG")
        encoded = base64.b64encode(buffer.getvalue()).decode()
        said = "; ".join(
            f"{i}: {p} ({q:.1%}), explained: {t}"
            for i, p, q, t in zip(self.ids, self.prediction, self.probability, self.target, strict=True)
        )
        heads = " | ".join(["photograph", *self])
        return (
            f'<figure><img alt="{html.escape(heads, quote=True)}" src="data:image/png;base64,{encoded}">'
            f"<figcaption>{html.escape(heads)}<br>{html.escape(said)}</figcaption></figure>"
        )


def explain(
    image: Picture | Sequence[Picture],
    methods: Sequence[PluginLike] | Mapping[str, PluginLike] | PluginLike = DEFAULT_METHODS,
    backbone: PluginLike | nn.Module = "shapes_vgg",
    *,
    target: PluginLike | int = "predicted",
    preprocess: Preprocess | None = None,
    labels: Sequence[str] = (),
    space: str = "model",
    seed: int = 0,
    device: str | None = None,
    plugins: Sequence[str | Path] = (),
) -> Explanation:
    """Explain one picture or several, in memory.

    ``image``: a path, a Pillow picture or an array (H,W,C), uint8 or in [0,1]; or a list of them. ``methods`` and
    ``backbone``: names, configs (``{"name": "smoothgrad", "samples": 50}``) or instances; methods may be a dict by
    label. ``backbone`` may be any ``nn.Module``; ``preprocess`` then says how a photograph becomes its input (default:
    224 x 224 with ImageNet statistics) and ``labels`` names its outputs. ``target``: a target name, a class index, a
    class name (``{"name": "index", "index": "tiger cat"}``) or an instance. ``plugins`` are local plugin files.
    ``device`` defaults to where the model is.

    Raises ConfigError, ImageError and the like where nothing can be explained; a single map that fails has its reason
    in the result.
    """
    registry = Registry([str(p) for p in plugins])
    single = isinstance(image, str | Path | Image.Image | np.ndarray)
    pictures: Sequence[Picture] = [image] if single else list(image)  # type: ignore[list-item, arg-type]
    dataset = _Given(tuple(_item(i, p) for i, p in enumerate(pictures)))
    adapter = in_space(_adapter(registry, backbone, preprocess, tuple(labels)), space)
    chosen = {"name": "index", "index": target} if isinstance(target, int) else target
    aim = _plugin(registry, "target", chosen, Target)
    named = _labelled(registry, methods)
    memories = {label: _Memory() for label in named}
    tasks = [Task(label, method, aim, memories[label]) for label, method in named.items()]
    engine = Engine(adapter, dataset, list(dataset.rows()), tasks, seed=seed, device=device or _home(adapter))
    engine.run(range(len(dataset)), tasks)
    photographs = [_photograph(adapter, item) for item in dataset.items]
    return Explanation({label: m.blocks[0] for label, m in memories.items()}, photographs, single)


def _home(adapter: ModelAdapter) -> str:
    """Where the model lives; a user's module is never moved."""
    parameter = next(adapter.model.parameters(), None)
    return str(parameter.device) if parameter is not None else "cpu"


def _photograph(adapter: ModelAdapter, item: Item) -> Image.Image | None:
    """The part of a photograph that the model saw; None for arrays that are no photograph."""
    if not isinstance(item.image, Image.Image):
        array = np.asarray(item.image)
        if array.ndim != 3 or array.shape[2] != 3:
            return None
        scaled = array if array.dtype == np.uint8 else (np.clip(array, 0, 1) * 255).astype(np.uint8)
        return _photograph(adapter, Item(item.id, Image.fromarray(np.ascontiguousarray(scaled))))
    return adapter.preprocess.geometry((item.image.height, item.image.width)).picture_to_input(item.image)


def _item(number: int, picture: Picture) -> Item:
    if isinstance(picture, str | Path):
        return Item(str(picture), open_image(Path(picture)))
    return Item(f"picture {number}", picture.convert("RGB") if isinstance(picture, Image.Image) else picture)


def _adapter(
    registry: Registry, backbone: PluginLike | nn.Module, preprocess: Preprocess | None, labels: tuple[str, ...]
) -> ModelAdapter:
    if isinstance(backbone, nn.Module):
        imagenet = Preprocess(256, (224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        return ModuleAdapter(backbone, preprocess or imagenet, labels)
    if preprocess or labels:
        raise ConfigError("preprocess and labels belong to a plain nn.Module", where="backbone")
    return _plugin(registry, "backbone", backbone, ModelAdapter)


def _labelled(
    registry: Registry, methods: Sequence[PluginLike] | Mapping[str, PluginLike] | PluginLike
) -> dict[str, Explainer]:
    if isinstance(methods, Mapping) and "name" not in methods:
        return {k: _plugin(registry, "method", m, Explainer) for k, m in methods.items()}
    several = [methods] if isinstance(methods, str | Mapping | Plugin) else list(methods)
    named: dict[str, Explainer] = {}
    for given in several:
        method = _plugin(registry, "method", given, Explainer)
        label = registry.name_of(type(method))
        if label in named:
            raise ConfigError(f"{label!r} is given twice", where="methods", fix="give a dict with a label for each")
        named[label] = method
    if not named:
        raise ConfigError("no method is given", where="methods")
    return named


def _plugin(registry: Registry, kind: str, given: PluginLike, interface: type[PluginT]) -> PluginT:
    if isinstance(given, str):
        given = {"name": given}
    plugin = given if isinstance(given, Plugin) else registry.build(kind, given, kind)
    if not isinstance(plugin, interface):
        raise ConfigError(f"{plugin!r} is no {kind}", where=kind)
    return plugin
