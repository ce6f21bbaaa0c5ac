"""MinIVess Review: `client` speaks HTTP, `scene` holds what is shown (MRML), `review` is the work at a queue, `panel` is Qt."""
