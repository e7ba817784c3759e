"""Pairs of pictures: decoding, joining, augmenting, choosing goldens, sampling."""
