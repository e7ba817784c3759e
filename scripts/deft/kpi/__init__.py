"""The operating point, the evaluation of a phase, the loop's decision."""
