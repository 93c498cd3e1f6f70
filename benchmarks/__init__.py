"""Measurements; see README.md. Not part of the distribution and not of the timed tests."""
