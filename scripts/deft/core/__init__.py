"""What everything stands on: errors, files, layout, machine. Imports no other room."""
