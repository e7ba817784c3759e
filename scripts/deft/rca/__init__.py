"""Root-cause analysis: weak samples and where they are routed."""
