"""The network as ONNX: export, scoring by ONNX Runtime, parity, int8, the hand-off folder."""
