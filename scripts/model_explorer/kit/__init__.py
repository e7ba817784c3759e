"""What runs inside an experiment folder: copied there as ``scripts/kit``, so that the folder can
move.

Imports nothing of the project: only the standard library, numpy, Pillow, matplotlib and the
runtime of the model (torch or ONNX Runtime). Every figure goes to ``outputs/*.json`` first; the
reports and figures read those files and nothing else.
"""
