"""Measurements of siri: what each part is worth, and how fast it is."""
