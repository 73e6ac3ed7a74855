"""Runs on the disk: their folder, carrying them to the end, checkpoints, trackers, plans."""

from siri.runs.directory import RunDirectory, check_splits, compose, execute, shown_skills, versions

__all__ = ["RunDirectory", "check_splits", "compose", "execute", "shown_skills", "versions"]
