"""Trackers get what runs write, from processes of their own: runs never wait for them."""
