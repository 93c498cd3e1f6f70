"""From save to the first new answer; see `__main__`."""
