"""What an order must pass before it is sent: rules, protected prices, limits, kill switches, the order rate."""
