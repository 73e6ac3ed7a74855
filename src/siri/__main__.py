"""`python -m siri`, as the `siri` script; `accelerate launch -m siri run …` starts several."""

from siri.cli import main

main()
