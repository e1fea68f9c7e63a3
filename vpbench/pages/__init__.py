"""Pages for people: leaderboards and pictures."""
