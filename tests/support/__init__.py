"""What tests share: servers and processes on loopback, ended by process id."""
