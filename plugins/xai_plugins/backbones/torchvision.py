"""All classifiers of torchvision, with their own preprocessing and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from xai_framework.core import ConfigError, File, Filter, ModelAdapter, Preprocess, did_you_mean, load_weights, param
from xai_plugins.backbones._torchvision_layers import grey_stem, grid_of, is_vit, last_of_vit
from xai_plugins.backbones._torchvision_weights import checksum, current_name, fetch

if TYPE_CHECKING:
    from torch import Tensor, nn

RANDOM = "random"
_WITH_TRAINING_HEADS = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class Torchvision(ModelAdapter):
    """Any torchvision classification model by name, e.g. resnet50, vit_b_16, swin_t.

    Weights are those torchvision publishes (downloaded once), a local file, or random. Preprocessing and class names
    travel with the published weights; a file takes those of ``weights``, random weights those of the architecture's
    default weights. Each preprocessing option overrides one step; a grey ``order`` replaces the first layer.

    Random weights are torchvision's own start, except ViT's head, which torchvision starts at zero, so that every
    attribution would be zero: it is drawn from a normal distribution of standard deviation 0.02.
    """

    caption: ClassVar[str] = "{arch}"

    arch: str = param(doc="name of the model, e.g. resnet18")
    weights: str = param("DEFAULT", doc="published weights by name (IMAGENET1K_V1), DEFAULT, or random")
    file: File | None = param(None, doc="a local weights file (state dict) used instead of published weights")
    sha256: str | None = param(None, doc="checksum the file must have, or its first 8 digits or more")
    classes: int | None = param(None, ge=1, le=1_000_000, doc="number of outputs, for a file with another head")
    labels_file: File | None = param(None, doc="class names: one a line, or ImageNet's JSON index")
    seed: int = param(0, ge=0, le=2**63 - 1, doc="seed of random weights")
    resize: int | None = param(None, ge=0, le=8192, doc="shorter side after resizing; 0: no resizing")
    resize_exact: tuple[int, ...] | None = param(None, ge=1, le=8192, doc="[height, width] to resize to exactly")
    crop: int | None = param(None, ge=0, le=8192, doc="side of the centre crop; 0: no crop")
    filter: Filter | None = param(None, doc="how pixels are resampled when resizing")
    order: Literal["rgb", "bgr", "gray"] | None = param(None, doc="order of the input's channels")
    range: float | None = param(None, gt=0, doc="value of white before mean and std apply: 1 or 255")
    mean: tuple[float, ...] | None = param(None, doc="subtracted from each channel, in the input's order")
    std: tuple[float, ...] | None = param(None, gt=0, doc="each channel is divided by it")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file is not None and self.weights == RANDOM:
            raise _mistake("weights", "random weights and a weights file are both given", "leave one out")
        if self.file is None and self.sha256 is not None:
            raise _mistake("sha256", "there is no file to check", "give backbone.file; published weights are checked")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", self.sha256):
            raise _mistake("sha256", f"{self.sha256!r} is no sha256", "give 8 to 64 hexadecimal digits")
        if self.order == "gray" and self.file is None and self.weights != RANDOM:
            raise _mistake("order", "published weights take colour pictures", "give a file trained on grey ones")
        if self.resize_exact is not None and (len(self.resize_exact) != 2 or self.resize is not None):
            raise _mistake("resize_exact", "expected [height, width], and no resize beside it")
        channels = 1 if self.order == "gray" else 3
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != channels:
                raise _mistake(name, f"{len(values)} values for {channels} channels", "give one a channel")

    @classmethod
    def example(cls) -> Self:
        """A small one with random weights."""
        return cls(arch="squeezenet1_1", weights=RANDOM, resize=64, crop=64)

    def resolved(self) -> Self:
        """``DEFAULT`` becomes the name of the weights it stands for today; names are checked."""
        published = self._published()
        self._outputs()
        return self if published is None else self.replace(weights=published.name)

    def load(self) -> nn.Module:
        """The network with its weights, without parameter gradients."""
        import torch

        published = self._published()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            model = self._build(self._outputs())
        if self.file is not None:
            load_weights(model, self.file, sha256=self.sha256, rename=current_name)
        elif published is not None:
            load_weights(model, fetch(published), sha256=checksum(published.url), rename=current_name)
        return model.requires_grad_(False)

    @property
    def preprocess(self) -> Preprocess:
        """The weights' own, with the overrides."""
        how = self._meaning().transforms()
        resize: Any = how.resize_size[0] if self.resize is None else self.resize or None
        side = how.crop_size[0] if self.crop is None else self.crop
        if self.resize_exact is not None:
            # an exact size is the input's size, unless a crop is asked for
            resize, side = tuple(self.resize_exact), self.crop
        mean, std = tuple(how.mean), tuple(how.std)
        if self.order == "gray":
            mean, std = (fmean(mean),), (fmean(std),)
        return Preprocess(
            resize=resize,
            crop=(side, side) if side else None,
            filter=self.filter or how.interpolation.value,
            order=self.order or "rgb",
            range=self.range or 1.0,
            mean=self.mean or mean,
            std=self.std or std,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names of the weights, or of the labels file; none where their number is not that of the outputs."""
        known = self._known_labels()
        return known if self.classes in (None, len(known)) else ()

    def last_layer(self) -> str:
        """The deepest feature grid; for ViT the last block's first norm."""
        return last_of_vit(self.model) if is_vit(self.arch) else super().last_layer()

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        """ViT: patches without the class token; Swin and ConvNeXt: channels last becomes channels first."""
        return grid_of(self.arch, name)

    def _published(self) -> Any:  # noqa: ANN401 - a member of a torchvision WeightsEnum
        """The enum member chosen; None for random weights."""
        enum = _enum(self.arch)
        if self.weights == RANDOM:
            return None
        if self.weights not in ("DEFAULT", *enum.__members__):
            raise ConfigError(
                f"no weights {self.weights!r} for {self.arch}",
                where="backbone.weights",
                fix=did_you_mean(self.weights, ["DEFAULT", *enum.__members__, RANDOM]),
            )
        return enum.DEFAULT if self.weights == "DEFAULT" else enum[self.weights]

    def _meaning(self) -> Any:  # noqa: ANN401 - a member of a torchvision WeightsEnum
        """The published weights whose preprocessing and class names apply."""
        return self._published() or _enum(self.arch).DEFAULT

    def _known_labels(self) -> tuple[str, ...]:
        if self.labels_file is not None:
            return _read_labels(self.labels_file)
        return tuple(self._meaning().meta["categories"])

    def _outputs(self) -> int:
        """The number of outputs. Raises ConfigError where two sources of it disagree."""
        named, published = len(self._known_labels()), len(self._meaning().meta["categories"])
        if self.labels_file is not None and self.classes not in (None, named):
            raise ConfigError(
                f"{named} class names for {self.classes} outputs",
                where="backbone.labels_file",
                fix="give one name for each output",
            )
        outputs = self.classes or named
        if self.file is None and self.weights != RANDOM and outputs != published:
            raise ConfigError(
                f"the published weights have {published} outputs, not {outputs}",
                where="backbone.labels_file" if self.labels_file is not None else "backbone.classes",
                fix="for a head of your own, give its weights with backbone.file=...",
            )
        return outputs

    def _build(self, outputs: int) -> nn.Module:
        import torch
        from torchvision import models

        how = self.preprocess
        options: dict[str, Any] = {"weights": None, "num_classes": outputs}
        if self.arch in _WITH_TRAINING_HEADS:
            # as torchvision builds them for its published weights: those expect another normalisation than its
            # transforms give, so the network converts its input
            convert = self.weights != RANDOM and self.order != "gray"
            options |= {"init_weights": self.weights == RANDOM, "aux_logits": False, "transform_input": convert}
        size = how.crop or (how.resize if isinstance(how.resize, tuple) else self._meaning().meta["min_size"])
        if is_vit(self.arch):
            if size[0] != size[1]:
                raise ConfigError(f"{self.arch} takes square inputs", where="backbone.resize_exact")
            options["image_size"] = size[0]
        elif self.arch == "maxvit_t":
            options["input_size"] = size
        try:
            model: nn.Module = models.get_model(self.arch, **options)
        except (AssertionError, ValueError) as error:
            raise ConfigError(
                f"{self.arch} cannot be built for inputs of {size[0]}x{size[1]} ({error})",
                where="backbone.crop",
                fix=f"its published size is {self._meaning().transforms().crop_size[0]}",
            ) from error
        if how.order == "gray":
            grey_stem(model)
        if is_vit(self.arch) and self.weights == RANDOM:
            torch.nn.init.normal_(model.get_submodule("heads.head").weight, std=0.02)  # type: ignore[arg-type]
        return model


def _mistake(name: str, what: str, fix: str = "") -> ConfigError:
    return ConfigError(what, where=f"Torchvision.{name}", fix=fix)


def _enum(arch: str) -> Any:  # noqa: ANN401 - a torchvision WeightsEnum
    from torchvision import models

    known = models.list_models(module=models)
    if arch not in known:
        raise ConfigError(f"no torchvision model {arch!r}", where="backbone.arch", fix=did_you_mean(arch, known))
    return models.get_model_weights(arch)


def _read_labels(path: str) -> tuple[str, ...]:
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=f"backbone.labels_file={path}") from None
    if path.endswith(".json"):
        try:
            index = json.loads(text)
            names = [index[str(i)] for i in range(len(index))] if isinstance(index, dict) else index
            return tuple(str(n[-1]) if isinstance(n, list) else str(n) for n in names)
        except (ValueError, KeyError, IndexError, TypeError):
            raise ConfigError("is no list of names, nor {index: name}", where=f"backbone.labels_file={path}") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise ConfigError("names no class", where=f"backbone.labels_file={path}")
    return names
