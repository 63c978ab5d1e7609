"""What parent and child agree on: exit codes, descriptors, the files and sockets between them. Standard library only.

Every process imports this, the one that answers when nothing else can too: no framework, no third party, no policy.
"""
