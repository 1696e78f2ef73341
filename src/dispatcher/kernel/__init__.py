"""What every room stands on: clock, errors, Postgres, Redis, etcd, logs, lifecycle. Imports nothing of ours."""
