"""supervisord as a library: the one folder that knows it. Starts, reaps and polls; decides nothing."""
