"""Five maps that one forward and one backward pass are enough for."""

from __future__ import annotations

from benchmarks.networks import LAYERS
from benchmarks.speed import peers
from benchmarks.speed.ours import MethodConfig
from benchmarks.speed.row import Options
from benchmarks.speed.subject import Subject
from benchmarks.speed.work import Work

NETWORK = "resnet50"
CAMS = {
    peers.GRAD_CAM: ("GradCAM", "GradCAMPlusPlus", "LayerCAM"),
    peers.TORCHCAM: ("GradCAM", "GradCAMpp", "LayerCAM"),
}


def works(options: Options) -> list[Work]:
    """Against captum for gradients and either library of class activation maps."""
    layer = [LAYERS[NETWORK]]
    methods: dict[str, MethodConfig] = {
        "gradient": {"name": "gradient"},
        "input_x_gradient": {"name": "input_x_gradient"},
        **{name: {"name": name, "layer": layer} for name in ("gradcam", "gradcam_plus_plus", "layercam")},
    }
    checked = {label: methods[label] for label in ("gradient", "input_x_gradient")}
    checked["gradcam"] = {"name": "gradcam", "layer": layer, "relu": False}

    common: list[peers.Part] = []  # the same objects for both, so that they are tried and timed once

    def with_cams(library: str, subject: Subject) -> list[peers.Part]:
        if not common:
            common.extend(peers.saliency(subject, options, cls) for cls in ("Saliency", "InputXGradient"))
            common.append(peers.choosing(subject, options))
        return [*common, *(peers.cam(subject, options, library, cls) for cls in CAMS[library])]

    both = f"{peers.CAPTUM} and {peers.GRAD_CAM}"
    return [
        Work(
            "gradient, input x gradient, Grad-CAM, Grad-CAM++, LayerCAM together",
            NETWORK,
            options.pick(16, 4),
            methods,
            checked,
            {
                both: lambda s: with_cams(peers.GRAD_CAM, s),
                f"{peers.CAPTUM} and {peers.TORCHCAM}": lambda s: with_cams(peers.TORCHCAM, s),
            },
            {(both, "float32"): 9.0, (both, "fast"): 20.0},
        )
    ]
