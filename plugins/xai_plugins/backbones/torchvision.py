"""All classifiers of torchvision, with their own preprocessing and labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from xai_framework.core import (
    ConfigError,
    File,
    Filter,
    LayerError,
    ModelAdapter,
    Preprocess,
    WeightsError,
    did_you_mean,
    keep_grid,
    load_weights,
    param,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

RANDOM = "random"


@dataclass(frozen=True)
class Torchvision(ModelAdapter):
    """Any torchvision classification model by name, e.g. resnet50, vit_b_16, swin_t.

    Weights are those torchvision publishes (downloaded once), a local file, or random. Preprocessing and class names
    travel with the published weights; a file or random weights take those of the architecture's default weights. Each
    preprocessing option overrides one step.
    """

    caption: ClassVar[str] = "{arch}"

    arch: str = param(doc="name of the model, e.g. resnet18")
    weights: str = param("DEFAULT", doc="published weights by name (IMAGENET1K_V1), DEFAULT, or random")
    file: File | None = param(None, doc="a local weights file (state dict) used instead of published weights")
    sha256: str | None = param(None, doc="checksum the file must have")
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

    @classmethod
    def example(cls) -> Self:
        """A small one with random weights."""
        return cls(arch="squeezenet1_1", weights=RANDOM, resize=64, crop=64)

    def resolved(self) -> Self:
        """``DEFAULT`` becomes the name of the weights it stands for today; names are checked."""
        published = self._published()
        if self.file is None and self.weights == "DEFAULT" and published is not None:
            return self.replace(weights=published.name)
        return self

    def load(self) -> nn.Module:
        """The network with its weights, without parameter gradients."""
        import torch

        classes = self.classes or (len(self._known_labels()) or 1000)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self._build(classes)
        if self.file is not None:
            load_weights(model, self.file, sha256=self.sha256)
        elif self.weights != RANDOM:
            self._load_published(model)
        return model.requires_grad_(False)

    @property
    def preprocess(self) -> Preprocess:
        """The weights' own, with the overrides."""
        how: Any = _default(self.arch).transforms() if self._published() is None else self._published().transforms()
        size = how.resize_size[0]
        own = Preprocess(
            resize=size,
            crop=(how.crop_size[0],) * 2,
            filter=how.interpolation.value,
            mean=tuple(how.mean),
            std=tuple(how.std),
        )
        resize: Any = own.resize if self.resize is None else self.resize or None
        if self.resize_exact is not None:
            if len(self.resize_exact) != 2:
                raise ConfigError("expected [height, width]", where="backbone.resize_exact")
            resize = tuple(self.resize_exact)
        crop = own.crop if self.crop is None else (self.crop, self.crop) if self.crop else None
        if self.resize_exact is not None and self.crop is None:
            crop = None  # an exact size is the input's size, unless a crop is asked for
        return Preprocess(
            resize=resize,
            crop=crop,
            filter=self.filter or own.filter,
            order=self.order or own.order,
            range=self.range or own.range,
            mean=self.mean or own.mean,
            std=self.std or own.std,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names of the weights, or of the labels file."""
        known = self._known_labels()
        return known if self.classes in (None, len(known)) else ()

    def last_layer(self) -> str:
        """The deepest feature grid; for ViT the last block's first norm.

        (The output of ViT's last block bears on the class only through the class token: its patches have no gradient.)
        """
        if self._is_vit:
            blocks = [n for n, _ in self.model.named_modules() if n.startswith("encoder.layers.") and n.count(".") == 2]
            return f"{blocks[-1]}.ln_1"
        return super().last_layer()

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        """ViT: patches without the class token; Swin: channels last becomes channels first."""
        if self._is_vit and name.startswith("encoder"):
            return _tokens_to_grid
        if self.arch.startswith("swin") and name != "permute":
            return _channels_first
        return keep_grid

    @property
    def _is_vit(self) -> bool:
        return self.arch.startswith("vit_")

    def _published(self) -> Any:  # noqa: ANN401 - a member of a torchvision WeightsEnum
        """The enum member chosen; None for random weights."""
        if self.weights == RANDOM:
            _check_arch(self.arch)
            return None
        enum = _enum(self.arch)
        if self.weights not in ("DEFAULT", *enum.__members__):
            raise ConfigError(
                f"no weights {self.weights!r} for {self.arch}",
                where="backbone.weights",
                fix=did_you_mean(self.weights, ["DEFAULT", *enum.__members__, RANDOM]),
            )
        return enum[self.weights] if self.weights in enum.__members__ else _default(self.arch)

    def _known_labels(self) -> tuple[str, ...]:
        if self.labels_file is not None:
            return _read_labels(self.labels_file)
        return tuple(_default(self.arch).meta["categories"])

    def _build(self, classes: int) -> nn.Module:
        import torch
        from torchvision import models

        options: dict[str, Any] = {"weights": None, "num_classes": classes}
        if self.arch in ("googlenet", "inception_v3"):
            options["init_weights"] = self.weights == RANDOM
            options["aux_logits"] = True
        model: nn.Module = models.get_model(self.arch, **options)
        if self._is_vit and self.weights == RANDOM:
            # torchvision starts ViT's head at zero: every logit, and so every attribution, would be zero
            torch.nn.init.normal_(model.heads.head.weight, std=0.02)  # type: ignore[union-attr, arg-type]
        return model

    def _load_published(self, model: nn.Module) -> None:
        import torch

        member = self._published()
        try:
            state = member.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            place = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name
            raise WeightsError(
                f"the weights {member.name} could not be downloaded ({' '.join(str(error).split())[:120]})",
                where=member.url,
                fix=f"put the file at {place}, name a local one with backbone.file=..., or use weights=random",
            ) from None
        model.load_state_dict(state)


def _check_arch(arch: str) -> None:
    from torchvision import models

    known = models.list_models(module=models)
    if arch not in known:
        raise ConfigError(f"no torchvision model {arch!r}", where="backbone.arch", fix=did_you_mean(arch, known))


def _enum(arch: str) -> Any:  # noqa: ANN401 - a torchvision WeightsEnum
    from torchvision import models

    _check_arch(arch)
    return models.get_model_weights(arch)


def _default(arch: str) -> Any:  # noqa: ANN401 - a member of a torchvision WeightsEnum
    return _enum(arch).DEFAULT


def _read_labels(path: str) -> tuple[str, ...]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=f"backbone.labels_file={path}") from None
    if path.endswith(".json"):
        try:
            index = json.loads(text)
            names = [index[str(i)] for i in range(len(index))] if isinstance(index, dict) else index
            return tuple(str(n[-1]) if isinstance(n, list) else str(n) for n in names)
        except (ValueError, KeyError, IndexError):
            raise ConfigError("is no list of names, nor {index: name}", where=f"backbone.labels_file={path}") from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _tokens_to_grid(tokens: Tensor) -> Tensor:
    """(B, 1 + h*w, C) -> (B,C,h,w)."""
    if tokens.ndim != 3 or round((tokens.shape[1] - 1) ** 0.5) ** 2 != tokens.shape[1] - 1:
        raise LayerError(
            f"gives {tuple(tokens.shape)}, which is no class token and square grid of patches", fix="try last"
        )
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, side, side)


def _channels_first(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
