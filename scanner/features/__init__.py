"""What a row looks like: each file measures one side of it, from what the earlier stages found."""
