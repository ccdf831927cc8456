"""Work that other processes do: divided into parts, or apart from this one."""
