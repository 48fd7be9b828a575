"""Launcher for a checkout: python cli.py convert mobilenet_v3 --report."""

from fxconv.cli.app import start

start()
