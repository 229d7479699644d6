"""torcxd: brings a Kubernetes node's OS, container runtime and kubelet from one consistent set to the next."""

__version__ = "0.1.0"
