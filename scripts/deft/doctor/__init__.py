"""Is this machine fit for the loop? Small probes, each in a process of its own; one table.

``judge_machine``, ``judge_devices`` and ``judge_software`` are pure: facts in, a finding out.
``measure`` gets the facts. ``probes`` ties both together; ``runner`` cuts off what hangs.
"""
