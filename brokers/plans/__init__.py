"""Many orders as one plan: baskets in slices, hedges first, and positions closed until the broker says flat.

``recording`` writes a plan, ``running`` moves it on, ``progress`` says how far it is, ``closing`` closes positions.
Nothing sleeps and nothing is remembered outside of the rows.
"""
