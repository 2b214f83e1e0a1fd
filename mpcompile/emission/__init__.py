"""Shared parts of backends that write files: Python text, files of constants and of weights; no framework is known."""
