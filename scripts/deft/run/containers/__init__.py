"""Container commands: made, run, ended, found again."""
