"""Parts of a run as the configuration names them."""

from __future__ import annotations

from typing import Any

from siri.config import ValidationConfig
from siri.errors import ConfigError
from siri.skills import (
    EmbeddingRanking,
    EverythingRanking,
    LexicalRanking,
    NoSkills,
    PairedValidator,
    Ranking,
    Retriever,
    SequentialValidator,
    SkillRetriever,
)

__all__ = ["make_ranking", "make_retriever", "make_validator"]


def make_validator(config: ValidationConfig) -> PairedValidator:
    """The validator that ``config.rule`` names."""
    options: dict[str, Any] = {
        name: getattr(config, name)
        for name in (
            "n_eval",
            "ema",
            "activate",
            "retire",
            "patience",
            "max_age",
            "shrink",
            "confidence",
            "caught_up",
        )
    }
    if config.rule == "sequential":
        return SequentialValidator(min_effect=config.min_effect, max_groups=config.max_groups, **options)
    return PairedValidator(rule=config.rule, **options)


def make_ranking(config: ValidationConfig) -> Ranking:
    """The ranking of proven skills that ``config.retrieval`` names ("none" ranks like "lexical")."""
    if config.retrieval == "embedding":
        if config.embedding_model is None:
            raise ConfigError(
                "got retrieval 'embedding' without a model; fix: validation.embedding_model=FOLDER"
            )
        return EmbeddingRanking(config.embedding_model)
    return EverythingRanking() if config.retrieval == "all" else LexicalRanking()


def make_retriever(config: ValidationConfig, validator: Any = None) -> SkillRetriever:
    """The retriever that ``config.retrieval`` names; a validator with a ``priority`` hands out the groups."""
    if config.retrieval == "none":
        return NoSkills()
    return Retriever(
        None if config.retrieval == "all" else config.top_k,
        ranking=make_ranking(config),
        candidate_share=config.candidate_share,
        n_eval=config.n_eval,
        priority=getattr(validator, "priority", None),
    )
