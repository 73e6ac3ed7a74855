"""Benchmarks as environments: each subpackage is one. They never import ``siri.policies``."""

from siri.envs.registration import register_envs

__all__ = ["register_envs"]

register_envs()
