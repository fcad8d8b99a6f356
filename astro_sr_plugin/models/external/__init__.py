"""Networks of other projects, from the files that users have."""
