"""Training a network: the loop, its files, the choice among them, several processes."""
