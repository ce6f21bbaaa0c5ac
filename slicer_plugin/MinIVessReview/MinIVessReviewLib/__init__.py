"""The parts of MinIVess Review.

`client` sends HTTP requests, `server_tasks` groups them, `worker` runs them in a thread, `outbox` stores what must not be lost.
`mask_scene` holds image and mask, `views` what is shown with them (both MRML only), `open_image` is the image under review.
`session` joins these; `review`, `draft_editing` and `submission` work in a session. `panel`, `display`, `table` and `clicks` are
the Qt part.
"""
