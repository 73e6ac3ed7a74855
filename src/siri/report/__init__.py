"""A run as one page of HTML: curves, stages, skills, episodes, settings. Nothing leaves the file."""

from siri.report.page import page, write_report
from siri.report.server import Server

__all__ = ["Server", "page", "write_report"]
