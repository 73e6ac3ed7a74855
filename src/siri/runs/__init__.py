"""Runs on the disk: carrying them to the end, opening them again; checkpoints, trackers, plans."""

from siri.runs.api import stream, train
from siri.runs.comparison import Comparison, compare
from siri.runs.directory import RunDirectory, versions
from siri.runs.execute import execute, iterations, occupied
from siri.runs.keeping import read_rollouts, write_evaluations
from siri.runs.records import EpisodeRow, Recipe, StageResult, Summary
from siri.runs.rollouts import EvaluationRow, GroupRow, KeptEpisode, KeptTurn, ReplayRow, TaughtTokens
from siri.runs.run import Columns, Curve, Run
from siri.runs.warm import Warm, sft

__all__ = [
    "Columns",
    "Comparison",
    "Curve",
    "EpisodeRow",
    "EvaluationRow",
    "GroupRow",
    "KeptEpisode",
    "KeptTurn",
    "Recipe",
    "ReplayRow",
    "Run",
    "RunDirectory",
    "StageResult",
    "Summary",
    "TaughtTokens",
    "Warm",
    "compare",
    "execute",
    "iterations",
    "occupied",
    "read_rollouts",
    "sft",
    "stream",
    "train",
    "versions",
    "write_evaluations",
]
