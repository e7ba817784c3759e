"""The layouts that :mod:`deft.importers` reads; a module each, and how the user calls them."""
