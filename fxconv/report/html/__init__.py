"""The report as one HTML file: nothing outside of it is asked for, on any screen, on paper, with or without a mouse."""

from fxconv.report.html.fragment import fragment
from fxconv.report.html.page import page

__all__ = ["fragment", "page"]
