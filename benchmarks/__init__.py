"""Side-by-side timings and memory; never part of the test run. ``python -m benchmarks.overhead`` and friends."""
