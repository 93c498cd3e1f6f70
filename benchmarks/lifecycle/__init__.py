"""Servers that are started and stopped inside a process, as tests do it."""
