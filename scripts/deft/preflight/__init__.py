"""Pre-flight: every check before the first job, the summary, and the one approval.

Import from the modules: ``run`` (the checks), ``approval`` (gate, approve), ``digest`` (what an
approval covers; standard library only, because it is read while the Snakefile is parsed).
"""
