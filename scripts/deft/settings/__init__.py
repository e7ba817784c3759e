"""Every setting: the configuration, the KPI sentence, the run's name, pinned packages."""
