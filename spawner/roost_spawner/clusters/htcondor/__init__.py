"""HTCondor, reached with the user's own token by a worker process that has htcondor2."""
