"""Check and measure this project on a machine with a GPU: ``bash gpu_check.sh``.


``table`` lists the checks, ``runner`` runs each in a process of its own, ``kit`` packs what a bare
machine lacks. Only the checks import torch.
"""
