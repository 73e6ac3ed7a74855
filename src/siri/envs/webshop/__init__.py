"""WebShop, played natively: buying what an instruction asks for (Yao et al. 2022, arXiv:2207.01206)."""

from siri.envs.webshop.agents import Scores, naive, oracle, play
from siri.envs.webshop.catalog import Catalog, Product, load_catalog
from siri.envs.webshop.compact import CompactPrompter, CompactShop, CompactSummaryPrompt
from siri.envs.webshop.env import WebShop, shared_index
from siri.envs.webshop.expert import ShopExpert
from siri.envs.webshop.generator import bundled_catalog, make_catalog, write_catalog
from siri.envs.webshop.goals import Goal, build_goals, split_goals
from siri.envs.webshop.nouns import noun_extractor, rule_nouns
from siri.envs.webshop.pages import Page, Session, parse_action
from siri.envs.webshop.prompts import WebShopPrompter
from siri.envs.webshop.reward import (
    Reward,
    attribute_reward,
    normalize_color,
    option_reward,
    reward,
    type_reward,
)
from siri.envs.webshop.search import SearchIndex
from siri.envs.webshop.suite import webshop_suite

__all__ = [
    "Catalog",
    "CompactPrompter",
    "CompactShop",
    "CompactSummaryPrompt",
    "Goal",
    "Page",
    "Product",
    "Reward",
    "Scores",
    "SearchIndex",
    "Session",
    "ShopExpert",
    "WebShop",
    "WebShopPrompter",
    "attribute_reward",
    "build_goals",
    "bundled_catalog",
    "load_catalog",
    "make_catalog",
    "naive",
    "normalize_color",
    "noun_extractor",
    "option_reward",
    "oracle",
    "parse_action",
    "play",
    "reward",
    "rule_nouns",
    "shared_index",
    "split_goals",
    "type_reward",
    "webshop_suite",
    "write_catalog",
]
