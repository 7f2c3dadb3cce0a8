"""Timings and memory; never part of the test run.

``python -m benchmarks NAME`` for speed beside other libraries; ``python -m benchmarks.overhead`` and friends.
"""
