"""Reads the figures out of the example agent's report, as a person would: by heading and by row."""

import re
from dataclasses import dataclass

FIRST_SENTENCE = "Example agent, not a language model: it did not act on your prompt."


@dataclass
class Report:
    """What the report says of its one table."""

    rows: int
    columns: int
    sections: dict

    def column(self, name):
        """The figures of a column by their names in the report, and `trend` in words."""
        section = self.sections[name]
        figures = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", section, re.MULTILINE))
        trend = re.search(r"^Trend: (.+)$", section, re.MULTILINE)
        return figures | {"trend": trend.group(1) if trend else ""}


def read(text):
    """The report as text, taken apart; fails where the report has no table of delimited values."""
    pieces = re.split(r"^### Column \d+: (.+)$", text, flags=re.MULTILINE)
    return Report(
        rows=int(re.search(r"^- Rows: (\d+)$", text, re.MULTILINE).group(1)),
        columns=int(re.search(r"^- Columns: (\d+)$", text, re.MULTILINE).group(1)),
        sections=dict(zip(pieces[1::2], pieces[2::2])),
    )
