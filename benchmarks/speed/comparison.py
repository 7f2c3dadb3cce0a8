"""What somebody who compares methods wants of each picture: seven maps."""

from __future__ import annotations

from benchmarks.networks import LAYERS, REAL, architecture
from benchmarks.speed import peers
from benchmarks.speed.ours import MethodConfig
from benchmarks.speed.row import Options
from benchmarks.speed.shared import CAMS
from benchmarks.speed.subject import Subject
from benchmarks.speed.work import Work

GOALS = {"squeezenet1_1": (4.0, 8.0), "resnet50": (3.0, 8.0)}
PEERS = f"{peers.CAPTUM} and {peers.TORCHCAM}"


def works(options: Options) -> list[Work]:
    """On two architectures and a trained network."""
    images = {"squeezenet1_1": 8, "resnet50": 4, REAL: 4}
    names = ["squeezenet1_1"] if options.quick else list(images)
    return [_work(name, options.pick(images[name], 2), options) for name in names]


def _work(name: str, images: int, options: Options) -> Work:
    samples = options.pick(25, 4)
    layer = [LAYERS[architecture(name)]]
    methods: dict[str, MethodConfig] = {
        "gradient": {"name": "gradient"},
        "input_x_gradient": {"name": "input_x_gradient"},
        "smoothgrad": {"name": "smoothgrad", "samples": samples},
        **{cam: {"name": cam, "layer": layer} for cam in ("gradcam", "gradcam_plus_plus", "layercam")},
        "occlusion": {"name": "occlusion", "window": 32, "stride": 16},
    }
    checked: dict[str, MethodConfig] = {
        **{label: methods[label] for label in ("gradient", "input_x_gradient")},
        "smoothgrad": {"name": "smoothgrad", "samples": 2},
        "gradcam": {"name": "gradcam", "layer": layer, "relu": False},
        "occlusion": {"name": "occlusion", "window": 32, "stride": options.pick(64, 16), "output": "grid"},
    }

    def parts(subject: Subject) -> list[peers.Part]:
        return [
            peers.saliency(subject, options),
            peers.saliency(subject, options, "InputXGradient"),
            peers.smoothgrad(subject, options, samples, options.pick(4, 2)),
            *(peers.cam(subject, options, peers.TORCHCAM, cls) for cls in CAMS[peers.TORCHCAM]),
            peers.occlusion(subject, options, 32, 16, options.pick(32, 16)),
            peers.choosing(subject, options),
        ]

    exact, fast = GOALS.get(name, (None, None))
    goals = {} if exact is None or fast is None else {(PEERS, "float32"): exact, (PEERS, "fast"): fast}
    words = f"gradient, input x gradient, SmoothGrad {samples}, 3 CAMs, occlusion 32/16"
    return Work(f"whole comparison: {words}", name, images, methods, checked, {PEERS: parts}, goals)
