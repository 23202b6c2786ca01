"""What the middlewares share: which calls are metered, how an answer is held, streamed or refused."""
