"""What a run knows of itself: strict reading, lab record, hand-off, summaries."""
