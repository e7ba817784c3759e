"""The model stages as NVIDIA's container commands: what ``engine: tao`` runs.

``settings`` and ``config/images.yaml`` say which images and how, ``command`` makes the command
line (pure), ``mounts`` what a container sees, ``launch`` runs it and ends it, ``running`` knows
which ones still work, ``stages`` the entry points of TAO; ``train``, ``infer``, ``gaps`` and
``embed`` collect what it wrote into the contract's files.
"""
