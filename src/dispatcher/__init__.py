"""Dispatcher: a self-hosted message service. Start with app.py, the composition root."""

from importlib.metadata import version

__version__ = version("dispatcher")
