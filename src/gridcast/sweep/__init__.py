"""Many runs: plan, search, tasks, worker pool, lease, outbox, winner."""
