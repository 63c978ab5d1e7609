"""What is answered to a request, free of any HTTP framework: a service takes a `Request` and returns a `Response`."""
