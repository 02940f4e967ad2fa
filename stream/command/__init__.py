"""What the live commands share: metrics and health, status lines, systemd, a producer as a child process."""
