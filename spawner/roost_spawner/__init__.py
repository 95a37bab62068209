"""Sessions as batch jobs: the spawner, its clusters and the agent in the job."""
