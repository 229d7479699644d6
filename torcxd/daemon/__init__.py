"""The shell: carries out what the core decides, on trio."""
