"""Skills: writing them, keeping them, showing them, and finding out which help."""

from siri.skills.bank import PROVEN, SkillBank, skill_id
from siri.skills.evidence import Evidence, Observation, SkillRecord, UtilityEstimator
from siri.skills.files import Imported, export_skills, import_skills, read_skills
from siri.skills.intake import ContinueWithout, Proposal, StopAfter, admit, propose
from siri.skills.retrieval import (
    EmbeddingRanking,
    EverythingRanking,
    LexicalRanking,
    NoSkills,
    Ranking,
    Retriever,
    SkillRetriever,
    UpperConfidenceRanking,
)
from siri.skills.safety import SkillGuard, sanitize
from siri.skills.sampling import EffectSampling
from siri.skills.stats import betting, empirical_bernstein, hoeffding, running_utility, wilson
from siri.skills.validation import PairedValidator, Screen, SequentialValidator
from siri.skills.writers.advisers import Analyses, Reflections, Rubric
from siri.skills.writers.base import Miner, check_minable
from siri.skills.writers.chat import ChatMiner
from siri.skills.writers.file import FileMiner
from siri.skills.writers.function import ChatWriter
from siri.skills.writers.hosted import HostedModel
from siri.skills.writers.parsing import TINY_SKILL_GRAMMAR, parse_skills
from siri.skills.writers.prompts import (
    EMBEDDED_RULES,
    ActionSummaryPrompt,
    JsonSummaryPrompt,
    SummaryPrompt,
    WithRules,
    prompt_hash,
    summary_text,
)
from siri.skills.writers.self_miner import SelfMiner
from siri.types import MiningReport

__all__ = [
    "EMBEDDED_RULES",
    "PROVEN",
    "TINY_SKILL_GRAMMAR",
    "ActionSummaryPrompt",
    "Analyses",
    "ChatMiner",
    "ChatWriter",
    "ContinueWithout",
    "EffectSampling",
    "EmbeddingRanking",
    "EverythingRanking",
    "Evidence",
    "FileMiner",
    "HostedModel",
    "Imported",
    "JsonSummaryPrompt",
    "LexicalRanking",
    "Miner",
    "MiningReport",
    "NoSkills",
    "Observation",
    "PairedValidator",
    "Proposal",
    "Ranking",
    "Reflections",
    "Retriever",
    "Rubric",
    "Screen",
    "SelfMiner",
    "SequentialValidator",
    "SkillBank",
    "SkillGuard",
    "SkillRecord",
    "SkillRetriever",
    "StopAfter",
    "SummaryPrompt",
    "UpperConfidenceRanking",
    "UtilityEstimator",
    "WithRules",
    "admit",
    "betting",
    "check_minable",
    "empirical_bernstein",
    "export_skills",
    "hoeffding",
    "import_skills",
    "parse_skills",
    "prompt_hash",
    "propose",
    "read_skills",
    "running_utility",
    "sanitize",
    "skill_id",
    "summary_text",
    "wilson",
]
