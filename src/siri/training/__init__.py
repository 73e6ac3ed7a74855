"""From rollouts to an optimizer step: rows, batches, replay and the learner."""
