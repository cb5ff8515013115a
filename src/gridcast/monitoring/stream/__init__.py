"""A detector that follows a feed: each batch is scored once."""
