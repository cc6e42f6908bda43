"""Who gets in by the web: login and its throttling, the second factor, the content security policy, groups."""
