"""The host's own files: durable writes, os-release, environment files, the boot id."""
