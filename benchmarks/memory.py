"""Peak memory of a whole run at 200 and at 2,000 embedded images, each in a fresh process."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile


def measure(images: int, methods: str) -> float:
    """Peak resident memory in MiB of one ``xai run``."""
    code = (
        "import resource,sys; from xai_framework.cli.main import main; c=main(sys.argv[1:]); "
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(c)"
    )
    with tempfile.TemporaryDirectory() as folder:
        args = ["run", f"dataset.images={images}", f"method=[{methods}]", f"outputs={folder}"]
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    line = next(ln for ln in done.stdout.splitlines() if ln.startswith("peak"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="gradient,gradcam")
    args = parser.parse_args()
    few, many = (measure(n, args.methods) for n in (200, 2000))
    print(f"peak memory: 200 images {few:.0f} MiB, 2000 images {many:.0f} MiB, ratio {many / few:.3f}")


if __name__ == "__main__":
    main()
