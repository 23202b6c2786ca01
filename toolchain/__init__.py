"""What builds and checks the project itself: environments, compiler, contract artifacts."""
