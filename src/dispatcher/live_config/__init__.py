"""What etcd changes while the process runs: the model, how layers become one value, and who follows etcd."""
