"""`python -m quarterdeck_cli`: the same as `quarterdeck`."""

from quarterdeck_cli.main import run

run()
