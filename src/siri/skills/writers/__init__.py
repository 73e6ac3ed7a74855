"""Who writes skills: prompts, parsing, and the miners around them."""
