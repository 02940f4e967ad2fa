"""What every command shares: its flags, what it says, its exit codes and how it ends."""
