"""`python -m siri.cli`, as the `siri` script."""

from siri.cli import main

main()
