"""PostgreSQL, Redis and etcd as child processes, from wheels, with nothing installed on the machine."""
