"""The body of a command: stages, jobs, GPU leases, state and log, containers, SLURM."""
