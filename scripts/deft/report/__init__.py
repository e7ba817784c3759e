"""The report of a run: numbers read from disk, one view model, one HTML file."""
