"""Commands around the packages: deploy, dev chain, demo, replay. Arguments, never prompts."""
