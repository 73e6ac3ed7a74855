"""Skills: mining them, keeping them, showing them, and finding out which help."""

from siri.skills.bank import Evidence, SkillBank, SkillRecord, skill_id
from siri.skills.chat import ChatMiner
from siri.skills.mining import Miner, MiningReport, SelfMiner
from siri.skills.parsing import TINY_SKILL_GRAMMAR, parse_skills
from siri.skills.prompts import ActionSummaryPrompt, JsonSummaryPrompt, SummaryPrompt, summary_text
from siri.skills.retrieval import Retriever
from siri.skills.stats import empirical_bernstein, hoeffding, running_utility, wilson
from siri.skills.validation import PairedValidator

__all__ = [
    "TINY_SKILL_GRAMMAR",
    "ActionSummaryPrompt",
    "ChatMiner",
    "Evidence",
    "JsonSummaryPrompt",
    "Miner",
    "MiningReport",
    "PairedValidator",
    "Retriever",
    "SelfMiner",
    "SkillBank",
    "SkillRecord",
    "SummaryPrompt",
    "empirical_bernstein",
    "hoeffding",
    "parse_skills",
    "running_utility",
    "skill_id",
    "summary_text",
    "wilson",
]
