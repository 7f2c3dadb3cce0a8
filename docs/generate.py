"""Writes the pages that the plugins themselves know best: docs/methods.md and docs/plugins.md.

``python docs/generate.py`` writes them, ``--check`` only says whether they are up to date, ``--picture`` draws the
pictures of the README and of truth.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from xai_framework.registry import Registry, Schema

HERE = Path(__file__).parent


def table(schema: Schema) -> str:
    """Parameters as a Markdown table."""
    if not schema.params:
        return "No parameters.\n"
    rows = ["| parameter | type | default | range | meaning |", "|---|---|---|---|---|"]
    for p in schema.params:
        default = "required" if p.required else p.default["name"] if isinstance(p.default, dict) else p.default
        kind = p.type_text.replace("|", "\\|")
        rows.append(f"| `{p.name}` | {kind} | {default} | {p.range} | {p.doc} |")
    return "\n".join(rows) + "\n"


def section(schema: Schema) -> str:
    """One plugin."""
    traits = ["draws random numbers"] if schema.stochastic else []
    traits += [] if schema.class_specific or schema.kind != "method" else ["the same map for every target"]
    head = f"## {schema.name}\n\n"
    source = f"{schema.headline}\n\n" if schema.kind in ("method", "metric") else ""
    doc = "\n".join(line.strip() for line in schema.doc.splitlines())
    note = f"\n\n({'; '.join(traits)})" if traits else ""
    return f"{head}{source}{doc}{note}\n\n{table(schema)}"


def overview(registry: Registry) -> str:
    """One line a method: what it answers, what it costs, when to use it."""
    from method_notes import NOTES

    from xai_framework.core import Explainer, Shape

    changes = json.loads((HERE / "randomisation.json").read_text("utf-8"))
    head = (
        "| method | answers | passes forward + back | needs a layer | of one class | correlation with new weights "
        "| use when |\n|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for schema in registry.schemas("method"):
        made = registry.build("method", {"name": schema.name})
        assert isinstance(made, Explainer)
        asks = made.needs(Shape((3, 224, 224)))
        forward, back = (sum(getattr(a, n) for a in asks if a.verb != "score") for n in ("passes", "backwards"))
        rho = changes.get(schema.name)
        layer = any(p.name in ("layer", "index") for p in schema.params)
        cells = (
            f"[{schema.name}](#{schema.name})",
            NOTES[schema.name][0],
            f"{forward} + {back}",
            "yes" if layer else "",
            "yes" if schema.class_specific else "no",
            "" if rho is None else f"{rho:.2f}",
            NOTES[schema.name][1],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return head + "\n".join(lines) + "\n\n" + EXPLAINED


EXPLAINED = """Passes are for one image of 224 x 224 at the defaults, unshared; Score-CAM's and Ablation-CAM's depend on
the layer's channels, guessed here. *Of one class*: the map depends on the target. *Correlation with new weights*:
Spearman's rank correlation of the map with that of the same network with random weights
(`python -m benchmarks.randomisation`, shapes_vgg): the nearer to 1, the more a method shows the picture rather than
what was learnt; controls stand at 1 by construction. Where each method's peak lies is in
[localisation.md](localisation.md), agreement with other libraries in [agreement.md](agreement.md).

Other names are accepted (`xai run method=[saliency,Grad-CAM++]`): `xai show method NAME` lists them.
"""


def pages() -> dict[str, str]:
    """File name -> text."""
    registry = Registry()
    methods = "\n".join(section(s) for s in registry.schemas("method"))
    others = []
    for kind in ("backbone", "dataset", "target", "metric", "renderer", "executor"):
        others.append(f"# {kind.capitalize()}s\n\n" + "\n".join(section(s) for s in registry.schemas(kind)))
    note = "Made by `python docs/generate.py` from the plugins themselves.\n\n"
    return {
        "methods.md": f"# Methods\n\n{note}{overview(registry)}\n{methods}",
        "plugins.md": f"{note}{chr(10).join(others)}",
    }


def picture() -> None:
    """The README's picture: six ways to explain three embedded pictures."""
    from xai_plugins.datasets.shapes import Shapes

    import xai_framework as xai

    smooth = {"name": "smoothgrad", "samples": 25}
    result = xai.explain(
        [Shapes(images=8, objects=2)[i].image for i in (1, 2, 5)],
        {
            "gradient": "gradient",
            "smoothgrad": smooth,
            "vargrad": {**smooth, "statistic": "variance", "reduce": "sum"},
            "gradcam": "gradcam",
            "smoothgrad(gradcam)": {**smooth, "inner": "gradcam"},
            "occlusion": {"name": "occlusion", "window": 16, "stride": 8},
        },
    )
    result.picture(size=144).save(HERE / "images" / "quickstart.jpg", quality=90)


def audit_picture() -> None:
    """Three pictures with the tag, the class star as the network with the shortcut and the one without see it."""
    from PIL import Image
    from xai_plugins.backbones.shapes import LABELS
    from xai_plugins.datasets.tagged_shapes import TaggedShapes

    import xai_framework as xai

    photographs = [TaggedShapes(images=8)[i].image for i in (0, 2, 5)]
    methods = {
        **{name: name for name in ("gradient", "integrated_gradients", "lrp", "gradcam")},
        "occlusion": {"name": "occlusion", "window": 16, "stride": 8},
        "edge": "edge",
    }
    parts = [
        xai.explain(photographs, methods, backbone, target=LABELS.index("star")).picture(size=120)
        for backbone in ("shapes_shortcut", "shapes_clean")
    ]
    whole = Image.new("RGB", (parts[0].width, sum(p.height for p in parts)), "white")
    for i, part in enumerate(parts):
        whole.paste(part, (0, i * parts[0].height))
    whole.save(HERE / "images" / "audit.jpg", quality=90)


def main() -> int:
    """Write or check."""
    if "--picture" in sys.argv[1:]:
        picture()
        audit_picture()
        return 0
    stale = [n for n, text in pages().items() if not (HERE / n).is_file() or (HERE / n).read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"docs/{n} is out of date; run python docs/generate.py" for n in stale))
        return 1 if stale else 0
    for name, text in pages().items():
        (HERE / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
