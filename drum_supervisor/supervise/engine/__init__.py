"""supervisord as a library: starts, reaps and polls. No other folder but `api` imports it, and nothing here decides."""
