"""Pre-generated NG/OK pairs and ``defect_spec.jsonl``: what counts, how it is read and labelled."""
