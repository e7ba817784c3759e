"""Visual ChangeNet (task classify) in plain PyTorch: spec, data, network, training, scoring."""
