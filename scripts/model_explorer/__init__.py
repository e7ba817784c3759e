"""Exploring a model file: does it run here, how is it called, how fast is it, can it be used.

``request`` reads what was asked, ``formats`` and ``pickles`` look at the file without running
anything of it, ``environment``, ``dependencies`` and ``install`` settle the packages, ``refs`` and
``layout`` make the experiment folder, ``found_inputs`` looks for real inputs, ``driver`` puts them
in order. ``kit`` is copied into the folder and does the work there, in the chosen interpreter.
"""
