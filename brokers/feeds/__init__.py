"""Live feeds: who wants which ticks, where they are kept, and how one account's feed is kept whole."""
