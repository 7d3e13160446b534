"""Runs side by side: what moved, layer by layer, and whether that is too far."""

from regaudit.compare.aligning import compare
from regaudit.compare.distances import with_distances
from regaudit.compare.ratchets import Breach, Ratchet, Ruling, parse, rule
from regaudit.compare.records import Comparison, Run, Track

__all__ = ["Breach", "Comparison", "Ratchet", "Ruling", "Run", "Track", "compare", "parse", "rule", "with_distances"]
