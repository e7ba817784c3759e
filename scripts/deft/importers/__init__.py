"""Importers: public data sets made into workspaces of the loop."""
