"""Scoring pairs of pictures with an exported model, wherever it is: numpy, OpenCV, ONNX Runtime.

``best_model/score_kit`` is a copy of this folder, so nothing of the project is imported here. The
pipeline imports it too: what both do (names, joins, thresholds) stands here once.
"""
