"""The version, alone in its file so that the build and the code read the same text."""

__version__ = "0.1.0"
