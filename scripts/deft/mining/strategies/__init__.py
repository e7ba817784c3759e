"""Which parts of the pool to add: strategies by name, and rules that combine with each of them."""

from deft.mining.strategies.named import STRATEGIES, Rules, choose
from deft.mining.strategies.problem import Problem
from deft.mining.strategies.rows import Lap, select

__all__ = ["STRATEGIES", "Lap", "Problem", "Rules", "choose", "select"]
