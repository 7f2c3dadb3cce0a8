"""The same explanations by us and by other libraries, side by side: ``python -m benchmarks NAME``."""
