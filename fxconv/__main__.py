"""`python -m fxconv`: what the command `fxconv` runs."""

from fxconv.cli.app import start

if __name__ == "__main__":
    start()
