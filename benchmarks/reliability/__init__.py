"""Breaks runs in every way that can be thought of, and checks that nothing stored is lost or wrong afterwards."""
