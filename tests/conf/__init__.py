"""What an operator deploys (`conf/`), held against published schemas and against our own settings: `make conf`."""
