"""What siri does with a transformers model: adapters, log-probs of action tokens in chunks."""
