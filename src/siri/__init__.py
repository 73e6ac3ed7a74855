"""siri: self-internalizing reinforcement learning with intrinsic skills."""

__version__ = "0.1.0"
