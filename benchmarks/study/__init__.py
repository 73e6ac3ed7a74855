"""What is each part of SIRI worth? ``python -m benchmarks.study --help`` says how to ask."""
