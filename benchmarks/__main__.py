"""``python -m benchmarks``: see :mod:`benchmarks.orders`."""

from benchmarks.orders import main

main()
