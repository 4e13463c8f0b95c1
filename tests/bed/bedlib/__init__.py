"""The test bed: images, a git server and servers to deploy to, all of them Docker containers on one machine."""
