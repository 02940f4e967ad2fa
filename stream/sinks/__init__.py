"""Where a bridge hands tokens and bodies on to other systems: one system a file."""
