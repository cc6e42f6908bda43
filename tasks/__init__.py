"""What the queues carry. A task resolves identifiers, makes one call into ``brokers``, and nothing else."""
