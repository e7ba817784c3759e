"""The target's sentence: read whole, or refused with the part that was not understood.

`tokens` cuts it, `numbers` reads quantities, `grammar` says what may stand where. Imported while
the Snakefile is parsed: standard library only.
"""

from deft.settings.kpi_sentence.grammar import Reading, read
from deft.settings.kpi_sentence.tokens import Unread

__all__ = ["Reading", "Unread", "read"]
