"""Good and bad clients against one server for minutes: `python -m benchmarks.soak`."""
